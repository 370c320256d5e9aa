"""A clock that stands still until a test moves it, with the sleepers that wait for it."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

from infrafabric_server.store.protocol import Store

# More turns of the loop than any chain of callbacks between a timer and its next sleep.
_TURNS = 30
# More steps than anything takes that a timer sets off: the end of a few leases, a compaction.
_ROUNDS = 4


class SteppedClock:
    """Time that passes only in `advance`, from sleeper to sleeper in their order."""

    def __init__(self) -> None:
        self._time = 1000.0
        self.sleeps = 0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=self._time)

    def monotonic(self) -> float:
        return self._time

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` have passed."""
        self.sleeps += 1
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._time + seconds, next(self._order), waking))
        await waking

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass; every sleeper wakes at its time and acts before time goes on."""
        end = self._time + seconds
        await _turns()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._time = max(self._time, self._sleepers[0][0])
            self._wake()
            await _turns()
        self._time = end

    async def settle(self, store: Store) -> None:
        """Return when all that the time has set off in `store` is done.

        Each round lets the store's thread finish what waits and the loop take it up.
        """
        for _ in range(_ROUNDS):
            await store.txn([], [])
            await store.health()
            await _turns()

    async def stall(self, seconds: float) -> None:
        """Let `seconds` pass as if the process had been stopped: all wake late, and at once."""
        await _turns()
        self._time += seconds
        self._wake()
        await _turns()

    def _wake(self) -> None:
        while self._sleepers and self._sleepers[0][0] <= self._time:
            waking = heapq.heappop(self._sleepers)[2]
            if not waking.done():
                waking.set_result(None)


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
