"""A disk that takes no more."""

import random
from dataclasses import dataclass

from tests.integration.fire.disk import Disk
from tests.robustness.setups.server import Server


@dataclass(frozen=True, slots=True)
class SpoiledDisk:
    """Fills the disk of a server, or lets it fail where no file system can be mounted."""

    server: Server
    disk: Disk
    domain: str = "servers"
    seconds: tuple[float, float] = (0.5, 3.0)

    async def inject(self, _: random.Random) -> str:
        """Spoil it."""
        self.disk.spoil(self.server.process)
        return self.server.name

    async def heal(self) -> None:
        """Make room."""
        self.disk.repair(self.server.process)
