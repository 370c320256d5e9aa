"""A server that is killed in the middle of the work, and started again later."""

import asyncio

from demo.fabric import Fabric, Replica
from demo.picture import News
from demo.view import View

_LOOK = 0.05


class Outage:
    """Takes the leader from a fabric of several servers, for a while.

    Args:
        fabric: the servers.
        view: where news go.
    """

    def __init__(self, fabric: Fabric, view: View) -> None:
        self._fabric = fabric
        self._view = view
        self._down: Replica | None = None

    async def begin(self) -> None:
        """Kill the server that leads; return when its sessions are at the others."""
        leader = await self._leader()
        before = await self._sessions()
        self._view.tell(News(f"sessions are spread over the servers: {_listed(before)}"))
        self._down = next(each for each in self._fabric.replicas if each.name == leader)
        self._down.server.process.kill()
        self._view.tell(News(f"{leader}, which leads the fabric, was killed (SIGKILL)"))
        after = await self._sessions()
        while sum(after.values()) < sum(before.values()):
            await asyncio.sleep(_LOOK)
            after = await self._sessions()
        self._view.tell(News(f"all sessions went on at the others: {_listed(after)}"))

    async def succeeded(self) -> None:
        """Return when another server leads."""
        self._view.tell(News(f"{await self._leader()} leads the fabric now"))

    async def end(self) -> Replica:
        """Start the server again and return it."""
        assert self._down is not None
        await self._fabric.restart(self._down)
        self._view.tell(News(f"{self._down.name} is back"))
        return self._down

    async def _leader(self) -> str:
        """Return the name of the server that leads, as soon as one does."""
        while True:
            for name, figures in (await self._fabric.figures()).items():
                if figures.leads:
                    return name
            await asyncio.sleep(_LOOK)

    async def _sessions(self) -> dict[str, int]:
        return {name: each.sessions for name, each in (await self._fabric.figures()).items()}


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
