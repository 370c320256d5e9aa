"""A revision that rises, for those who wait for it."""

import asyncio


class Progress:
    """Counts up to the newest known revision and wakes who waits for it."""

    def __init__(self, revision: int) -> None:
        self.newest = revision
        self._waiting: set[asyncio.Future[None]] = set()
        self._failure: Exception | None = None

    def advance(self, revision: int) -> None:
        """Declare everything up to `revision` known."""
        self.newest = max(self.newest, revision)
        self._wake()

    def fail(self, failure: Exception) -> None:
        """Make everyone who waits, now or later, fail with `failure`."""
        self._failure = failure
        self._wake()

    async def reached(self, revision: int) -> None:
        """Return when everything up to `revision` is known. Raises what `fail` was told."""
        while self._failure is None and self.newest < revision:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
