"""A disk that takes no more."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.integration.fire.disk import Disk
from tests.robustness.setups.server import Server


@dataclass(slots=True)
class SpoiledDisk:
    """Fills the disk of a server, or lets it fail where no file system can be mounted.

    `domain` and `seconds` are those of `Fault`.
    """

    servers: Sequence[Server]
    disk: Disk
    domain: str = "disk"
    seconds: tuple[float, float] = (0.5, 3.0)
    _chosen: Server | None = field(default=None, init=False)

    async def inject(self, chance: random.Random) -> str:
        """Spoil it."""
        self._chosen = chance.choice(self.servers)
        # One that is down at the moment gets a sound disk with its next start.
        if self._chosen.process.running:
            self.disk.spoil(self._chosen.process)
        return self._chosen.name

    async def heal(self) -> None:
        """Make room."""
        if self._chosen is not None and self._chosen.process.running:
            self.disk.repair(self._chosen.process)
