"""Closing something once, however often and by however many it is asked for."""

import asyncio
from collections.abc import Awaitable, Callable

from infrafabric_server.store.protocol import StoreClosed


class Closing:
    """Runs the end of a store once; who asks again waits for the same end."""

    def __init__(self, end: Callable[[], Awaitable[None]]) -> None:
        self._end = end
        self._closing: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raise StoreClosed once it was asked for."""
        if self._closing is not None:
            raise StoreClosed("the store was closed")

    async def close(self) -> None:
        """Return when the end has come; a caller that is cancelled does not stop it."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._run())
        await asyncio.shield(self._closing)

    async def _run(self) -> None:
        await self._end()
