"""What every set-up offers to the traffic and to the faults."""

import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from tests.robustness.faults.fault import Fault
from tests.robustness.setups.server import Server


class Setup(Protocol):
    """Running servers, and what can be done to them."""

    @property
    def servers(self) -> Sequence[Server]:
        """All servers; any of them serves any client."""
        ...

    @property
    def faults(self) -> Mapping[str, Fault]:
        """The faults that are possible here, by name."""
        ...


def pick(setup: Setup, chance: random.Random) -> Server:
    """Return any server."""
    return chance.choice(setup.servers)
