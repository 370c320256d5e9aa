"""Work that nobody waits for: owned by one task group, its refusals logged."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.protocol import StoreClosed, StoreError

T = TypeVar("T")

# Looks at the present state each time it is called, and does what is still to be done.
Work = Callable[[], Awaitable[object]]

# Consequences that are worked on at the same time. Ten thousand tasks may become ready at once:
# such a batch holds the event loop for some 40 ms, and shares its flushes to the disk.
_ROOM = 256

# Wait before a consequence is tried again.
RETRY_SECONDS = 1.0

_PASSING = (Reason.OUTBOX_FULL, Reason.CONTENTION, Reason.STORE_UNAVAILABLE)

_log = structlog.get_logger(__name__)


class Background:
    """Runs consequences of changes until it is cancelled.

    A consequence that the store or a full outbox keeps from being written is tried again;
    one that is refused has become void. Any other error ends `run`, and the server.
    """

    def __init__(self, retry_seconds: float = RETRY_SECONDS) -> None:
        self._retry_seconds = retry_seconds
        self._group: asyncio.TaskGroup | None = None
        self._under_way = 0
        self._room = asyncio.Semaphore(_ROOM)

    @property
    def running(self) -> bool:
        """Whether work is taken."""
        return self._group is not None

    @property
    def busy(self) -> bool:
        """Whether work that was started has not ended."""
        return self._under_way > 0

    async def run(self) -> None:
        """Own the work that is spawned, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    def spawn(self, name: str, work: Work) -> None:
        """Start a consequence; before the start and after the end it is dropped."""
        if self._group is None:
            return
        self._own(self._group.create_task(self.insist(name, work), name=name))

    def start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Start work that answers for its own errors, and outlives the call that brought it."""
        if self._group is None:
            work.close()
            raise _stopping()
        return self._own(self._group.create_task(work))

    def _own(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._under_way += 1
        task.add_done_callback(self._done)
        return task

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._under_way -= 1

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a decision to its end, also when the caller is cancelled meanwhile.

        A decision that is cut in the middle could leave a slot reserved or free that is not.
        """
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            try:
                value = await work
            except Exception as error:  # noqa: BLE001  # handed on to the caller
                if not result.cancelled():
                    result.set_exception(error)
            else:
                if not result.cancelled():
                    result.set_result(value)

        def ended(_task: asyncio.Task[None]) -> None:
            work.close()
            if not result.done():
                result.set_exception(_stopping())

        try:
            self.start(run()).add_done_callback(ended)
        except FabricError:
            work.close()
            raise
        return await result

    async def insist(self, name: str, work: Work) -> None:
        """Do a consequence here and now, again and again until it is written or has become void."""
        done = await self._tried(name, work)
        while not done:
            await asyncio.sleep(self._retry_seconds)
            done = await self._tried(name, work)

    async def _tried(self, name: str, work: Work) -> bool:
        """Return whether a consequence was written or has become void."""
        try:
            async with self._room:
                await work()
        except FabricError as error:
            if error.reason not in _PASSING:
                _log.info("consequence_refused", name=name, error=str(error))
                return True
            _log.warning("consequence_put_off", name=name, error=str(error))
            return False
        except StoreClosed:
            return True
        except StoreError as error:
            _log.warning("consequence_put_off", name=name, error=str(error))
            return False
        return True


def _stopping() -> FabricError:
    return FabricError(Reason.DRAINING, "the server is stopping; try another one")
