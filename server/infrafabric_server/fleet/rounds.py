"""What one process does for the fabric: a look at what has changed or is due, again and again."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from infrafabric_server.errors import FabricError
from infrafabric_server.store.protocol import StoreClosed, StoreError

# Wait before what was not written is tried again, in seconds.
RETRY_SECONDS = 1.0
_GATHER_SECONDS = 0.02

_log = structlog.get_logger(__name__)


class Rounds:
    """Does a round when it is woken, or when the time has come that the last one named."""

    def __init__(
        self,
        once: Callable[[], Awaitable[float | None]],
        *,
        failed: str,
        retry_seconds: float = RETRY_SECONDS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take the round and what its failure is called in the log.

        Args:
            once: does what is to be done; returns the seconds until it has to again by itself,
                None for never. What fails in it is tried again in `retry_seconds`.
            failed: name of the event.
            retry_seconds: wait after a failure.
            sleep: waits for a number of seconds.
        """
        self._once = once
        self._failed = failed
        self._retry_seconds = retry_seconds
        self._sleep = sleep
        self._woken = asyncio.Event()
        self._at_rest = False

    @property
    def resting(self) -> bool:
        """Whether it waits, and nothing has woken it."""
        return self._at_rest and not self._woken.is_set()

    def wake(self) -> None:
        """Have a round done now; `run` does so by itself when the time has come."""
        self._woken.set()

    async def run(self) -> None:
        """Do rounds until cancelled. Raises StoreClosed."""
        while True:
            self._woken.clear()
            try:
                wait = await self._once()
            except StoreClosed:
                raise
            except (FabricError, StoreError) as error:
                _log.warning(self._failed, error=str(error))
                await self._sleep(self._retry_seconds)
                continue
            self._at_rest = True
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._woken.wait()
            finally:
                self._at_rest = False
            # What changes together is looked at together.
            await self._sleep(_GATHER_SECONDS)
