"""Waiting for one's turn to run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from infrafabric_server.chassis.queue import FairQueue, Room
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.policy.book import PolicyBook

_Waiter = asyncio.Future[None]

# When a refused caller should try again: by then a place may be free.
_RETRY_SECONDS = 1.0


class Turns:
    """Lets runs begin: at most as many as the policy says, fair between swarms."""

    def __init__(self, policies: PolicyBook) -> None:
        self._policies = policies
        self._queue: FairQueue[_Waiter] = FairQueue()

    @property
    def running(self) -> int:
        """How many runs there are."""
        return self._queue.running

    @asynccontextmanager
    async def turn(self, swarm_id: str) -> AsyncIterator[None]:
        """Wait for the swarm's turn, and keep it for the block. Raises QUEUE_FULL at once."""
        self._pump()
        room = self._room()
        if self._queue.free(swarm_id, room):
            self._queue.begin(swarm_id)
        else:
            await self._wait(swarm_id, room)
        try:
            yield
        finally:
            self._done(swarm_id)

    async def _wait(self, swarm_id: str, room: Room) -> None:
        waiter = asyncio.get_running_loop().create_future()
        full = self._queue.join(swarm_id, waiter, room)
        if full:
            raise FabricError(
                Reason.QUEUE_FULL, f"{full}; try again in a moment", retry_after=_RETRY_SECONDS
            )
        try:
            await waiter
        except asyncio.CancelledError:
            if not self._queue.leave(swarm_id, waiter) and not waiter.cancelled():
                # Its turn came at the moment in which its caller gave up.
                self._done(swarm_id)
            raise

    def _done(self, swarm_id: str) -> None:
        self._queue.done(swarm_id)
        self._pump()

    def _pump(self) -> None:
        room = self._room()
        while (following := self._queue.next(room)) is not None:
            swarm_id, waiter = following
            if waiter.cancelled():
                self._queue.done(swarm_id)
            else:
                waiter.set_result(None)

    def _room(self) -> Room:
        bounds = self._policies.current.policy.chassis
        return Room(bounds.max_running, bounds.max_waiting_per_swarm, bounds.max_waiting)
