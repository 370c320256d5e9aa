"""A NATS server that is away."""

import asyncio
import random
from dataclasses import dataclass

from tests.harness.nats import Nats
from tests.robustness.faults.fault import Fault


@dataclass(frozen=True, slots=True)
class NatsDown:
    """Kills or freezes the NATS server; see `Fault`."""

    nats: Nats
    frozen: bool
    seconds: tuple[float, float]
    domain: str = "nats"

    async def inject(self, _: random.Random) -> str:
        """Do it."""
        (Nats.pause if self.frozen else Nats.kill)(self.nats)
        return self.nats.address

    async def heal(self) -> None:
        """Let it come back."""
        if self.frozen:
            self.nats.resume()
        else:
            await asyncio.to_thread(self.nats.start)


def nats_faults(nats: Nats) -> dict[str, Fault]:
    """Return the faults of a NATS server."""
    return {
        "nats-kill": NatsDown(nats, frozen=False, seconds=(0.0, 2.0)),
        "nats-pause": NatsDown(nats, frozen=True, seconds=(0.5, 5.0)),
        "nats-away": NatsDown(nats, frozen=False, seconds=(5.0, 10.0)),
    }
