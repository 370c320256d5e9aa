"""Server processes that die, freeze, or are replaced."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.robustness.faults.fault import Fault
from tests.robustness.setups.server import Server


@dataclass(slots=True)
class OnOneServer:
    """Does something to one server, another one each time.

    `domain` and `seconds` are those of `Fault`.
    """

    servers: Sequence[Server]
    begin: Callable[[Server], Awaitable[None]]
    end: Callable[[Server], Awaitable[None]]
    domain: str
    seconds: tuple[float, float]
    _chosen: Server | None = field(default=None, init=False)

    async def inject(self, chance: random.Random) -> str:
        """Do it to one server."""
        self._chosen = chance.choice(self.servers)
        await self.begin(self._chosen)
        return self._chosen.name

    async def heal(self) -> None:
        """Undo it."""
        if self._chosen is not None:
            await self.end(self._chosen)


async def _pause(server: Server) -> None:
    server.pause()


async def _resume(server: Server) -> None:
    server.resume()


def server_faults(servers: Sequence[Server]) -> dict[str, Fault]:
    """Return the faults of processes.

    Args:
        servers: of which one at a time is hit.
    """
    return {
        "kill": OnOneServer(servers, Server.kill, Server.revive, "servers", (0.0, 2.0)),
        # Longer than the lease of the sessions, every other time.
        "freeze": OnOneServer(servers, _pause, _resume, "servers", (0.5, 6.0)),
        "drain": OnOneServer(servers, Server.drain, Server.revive, "servers", (0.0, 1.0)),
    }
