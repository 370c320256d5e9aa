"""A block of code that ends early when its claim is lost."""

import asyncio
from types import TracebackType


class Guard:
    """An async context manager whose block is cancelled when the guard is tripped.

    The cancellation ends with the block: what follows it runs on. A cancellation from
    elsewhere passes through. Made new for each block.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._tripped = False

    def trip(self) -> None:
        """Cancel the block, if it has begun and not ended."""
        if self._task is not None and not self._tripped:
            self._tripped = True
            self._task.cancel()

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a guard is used inside a task"
        self._task = task
        self._cancelling = task.cancelling()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        task, self._task = self._task, None
        assert task is not None
        if not self._tripped:
            return False
        others = task.uncancel() > self._cancelling
        return kind is asyncio.CancelledError and not others
