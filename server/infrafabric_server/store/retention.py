"""How long the embedded adapters remember history."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from infrafabric_server.clock import Clock
from infrafabric_server.store.protocol import StoreClosed, StoreError

# The age of a revision is known to a tenth of the time for which history is kept.
_STEPS = 10


class Retention:
    """Compacts what is older than a given time.

    The age of what a reopened store brings along is not known: it counts as new.

    Args:
        clock: only its monotonic time is used.
        seconds: how long a revision can be asked for; it may be a tenth longer.
        revision: returns the newest revision.
        compact: forgets what is before a revision.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        clock: Clock,
        seconds: float,
        revision: Callable[[], int],
        compact: Callable[[int], Awaitable[object]],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._revision = revision
        self._compact = compact
        self._sleep = sleep
        self._logger = structlog.get_logger(__name__)

    async def run(self) -> None:
        """Compact now and then, until cancelled. Raises StoreClosed."""
        marks = deque([(self._clock.monotonic(), self._revision())])
        while True:
            await self._sleep(self._seconds / _STEPS)
            now = self._clock.monotonic()
            marks.append((now, self._revision()))
            old = 0
            while marks[0][0] <= now - self._seconds:
                old = marks.popleft()[1]
            try:
                if old:
                    await self._compact(old)
            except StoreClosed:
                raise
            except StoreError as error:
                self._logger.warning("history_not_compacted", revision=old, reason=str(error))
