"""A bounded queue between the session and whoever iterates over it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Inbox(AsyncIterator[Item], Generic[Item]):
    """Items in order of arrival, for any number of iterators that share them.

    Args:
        limit: most items that wait; beyond it the oldest one is dropped and counted. None
            when something else bounds them.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._items: deque[Item] = deque(maxlen=limit)
        self._changed = asyncio.Event()
        self._ended = False
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, item: Item) -> None:
        """Add an item."""
        self.dropped += len(self._items) == self._items.maxlen
        self._items.append(item)
        self._changed.set()

    def end(self, error: BaseException | None) -> None:
        """Let iterators end, or raise `error`, once they have taken what is here."""
        self._ended, self._error = True, error
        self._changed.set()

    async def __anext__(self) -> Item:
        """Return the next item when there is one."""
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()
