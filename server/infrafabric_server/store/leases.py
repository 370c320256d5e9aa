"""When leases end: deadlines in memory, by the monotonic clock."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from infrafabric_server.clock import Clock
from infrafabric_server.store.protocol import LeaseNotFound, StoreClosed, StoreError

# Leases are looked at in steps of this many seconds, so that ten thousand of them wake the
# timer twenty times a second and not ten thousand times; each may end that much later.
_STEP = 0.05
# A loop that wakes this many seconds late did not run in between: the process was stopped,
# the machine slept, or the loop is so busy that renewals wait in its queues.
_LATE = 0.5
# Seconds until the end of a lease that could not be written is tried again.
_RETRY = 1.0


class LeaseTimer:
    """Knows the deadline of every lease and hands in those that have passed.

    Renewals only move the deadline. Each lease is looked at when a third of its time is
    left, and again at its deadline. When the timer finds that it was late, nobody could
    renew anything meanwhile: every lease then has at least half of its time left, which a
    holder that renews at each third needs to be heard again.

    Args:
        clock: only its monotonic time is used.
        expire: ends leases in the store; it is called with some that are due, until it
            returns without an error.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        clock: Clock,
        expire: Callable[[Sequence[int]], Awaitable[object]],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._expire = expire
        self._sleep = sleep
        self._ttls: dict[int, float] = {}
        self._deadlines: dict[int, float] = {}
        self._looks: list[tuple[float, int]] = []
        self._added = asyncio.Event()
        self._logger = structlog.get_logger(__name__)

    def add(self, lease: int, ttl: float) -> None:
        """Let `lease` live for `ttl` seconds from now."""
        self._ttls[lease] = ttl
        self._deadlines[lease] = self._clock.monotonic() + ttl
        self._look_again(lease)
        self._added.set()

    def add_all(self, ttls: Mapping[int, float]) -> None:
        """Give each lease of a reopened store its whole time again."""
        for lease, ttl in ttls.items():
            self.add(lease, ttl)

    def renew(self, lease: int) -> None:
        """Give `lease` its whole time again. Raises LeaseNotFound, also while it is ending."""
        if lease not in self._deadlines:
            raise LeaseNotFound(f"lease {lease} expired or was revoked")
        self._deadlines[lease] = self._clock.monotonic() + self._ttls[lease]

    def remove(self, lease: int) -> None:
        """Forget `lease`, which ended in the store."""
        self._ttls.pop(lease, None)
        self._deadlines.pop(lease, None)

    async def run(self) -> None:
        """Hand in what is due, until cancelled. Raises StoreClosed."""
        while True:
            due = self._due()
            if due:
                await self._end(due)
            elif self._looks:
                await self._sleep_until(self._looks[0][0])
            else:
                self._added.clear()
                await self._added.wait()

    async def _sleep_until(self, moment: float) -> None:
        delay = max(_STEP, moment - self._clock.monotonic())
        wanted = self._clock.monotonic() + delay
        # A lease that is added meanwhile may be shorter than all that were there.
        self._added.clear()
        added = asyncio.ensure_future(self._added.wait())
        slept = asyncio.ensure_future(self._sleep(delay))
        try:
            await asyncio.wait((added, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            added.cancel()
            slept.cancel()
        late = self._clock.monotonic() - wanted
        if late > _LATE:
            self._logger.warning("lease_timer_late", late_seconds=round(late, 3))
            self._grace()

    def _due(self) -> list[int]:
        now = self._clock.monotonic()
        due: list[int] = []
        while self._looks and self._looks[0][0] <= now:
            lease = heapq.heappop(self._looks)[1]
            deadline = self._deadlines.get(lease)
            if deadline is None:
                continue
            if deadline <= now:
                del self._deadlines[lease]
                due.append(lease)
            else:
                self._look_again(lease)
        return due

    def _look_again(self, lease: int) -> None:
        deadline = self._deadlines[lease]
        early = deadline - self._ttls[lease] / 3
        moment = early if early > self._clock.monotonic() else deadline
        heapq.heappush(self._looks, (moment, lease))

    def _grace(self) -> None:
        earliest = self._clock.monotonic()
        for lease, deadline in self._deadlines.items():
            self._deadlines[lease] = max(deadline, earliest + self._ttls[lease] / 2)

    async def _end(self, leases: Sequence[int]) -> None:
        while True:
            try:
                await self._expire(leases)
            except StoreClosed:
                raise
            except StoreError as error:
                # They stay ended for their holders; what they hold goes when it can be written.
                self._logger.warning("leases_not_ended", count=len(leases), reason=str(error))
                await self._sleep(_RETRY)
            else:
                return
