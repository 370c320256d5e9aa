"""A disk that takes no more."""

import random
from collections.abc import Sequence
from contextlib import suppress
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
    _spoiled: Server | None = field(default=None, init=False)

    async def inject(self, chance: random.Random) -> str:
        """Spoil it."""
        server = chance.choice(self.servers)
        if not server.process.running:
            return f"{server.name} is down: nothing"
        self.disk.spoil(server.process)
        self._spoiled = server
        return server.name

    async def heal(self) -> None:
        """Make room."""
        server, self._spoiled = self._spoiled, None
        if server is not None:
            # One that was started again since has no limits.
            with suppress(ProcessLookupError):
                self.disk.repair(server.process)
