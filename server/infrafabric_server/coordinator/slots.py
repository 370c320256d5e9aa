"""What keeps two replicas from filling the same slot of a swarm at once.

Within a process a reservation holds a slot while a claim is written. Where several processes
claim, each claim also counts in a record of its swarm and compares that nobody else has since the
claimer looked: so no claim is written on a view that misses another one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary

from pydantic import BaseModel, ConfigDict

from infrafabric_server.store.mirror import Mirror, View, Write
from infrafabric_server.store.protocol import Compare, unchanged


class ClaimCount(BaseModel):
    """How many claims a swarm has made; stored under `slots/<swarm_id>`."""

    model_config = ConfigDict(frozen=True)

    claims: int


class Slots:
    """The slots of all swarms, guarded against the other replicas if there are any."""

    def __init__(self, mirror: Mirror) -> None:
        self._counts: View[ClaimCount] | None = None
        if mirror.shared:
            self._counts = mirror.view("slots/", ClaimCount)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def fence(self, swarm_id: str) -> tuple[list[Compare], list[Write]]:
        """Return what a claim compares and writes so that it counts on all claims before it."""
        if self._counts is None:
            return [], []
        entry = self._counts.entry(swarm_id)
        count = ClaimCount(claims=1 if entry is None else entry.value.claims + 1)
        seen = 0 if entry is None else entry.mod_revision
        key = self._counts.key(swarm_id)
        return [unchanged(key, seen)], [self._counts.put(swarm_id, count)]

    def forget(self, swarm_id: str) -> list[Write]:
        """Return what a deregistration deletes."""
        return [] if self._counts is None else [self._counts.delete(swarm_id)]

    @contextlib.asynccontextmanager
    async def turn(self, swarm_id: str) -> AsyncIterator[None]:
        """Let the claims of one swarm through this replica pass one by one.

        Each would have to be decided again after every other one.
        """
        if self._counts is None:
            yield
            return
        lock = self._turns.setdefault(swarm_id, asyncio.Lock())
        async with lock:
            yield
