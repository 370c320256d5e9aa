"""Bounds the memory that modules take while callers send them and wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from infrafabric_server.errors import FabricError, Reason

_MIB = 1024 * 1024

# Each holds a module in memory, and one after the other is compiled.
_AT_A_TIME = 2
# Sixteen of the largest that come with their call, or hundreds of small ones.
_WAITING_BYTES = 48 * _MIB
# What a call takes that has sent next to nothing: its buffers.
_LEAST_BYTES = 64 * 1024
# By then one of those that are compiled has ended.
_RETRY_SECONDS = 5.0


class Places:
    """Lets in few callers at a time, and has others wait, as long as they hold little memory."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(_AT_A_TIME)
        self._waiting_bytes = 0

    @asynccontextmanager
    async def place(self, size: int = 0) -> AsyncIterator[None]:
        """Wait for a place, and keep it for the block.

        Args:
            size: bytes that the caller has in memory while it waits.

        Raises:
            FabricError: QUEUE_FULL, at once.
        """
        held = max(size, _LEAST_BYTES)
        if self._room.locked() and self._waiting_bytes + held > _WAITING_BYTES:
            raise FabricError(
                Reason.QUEUE_FULL,
                f"modules of {self._waiting_bytes // _MIB} MiB wait at this server to be compiled,"
                f" at most {_WAITING_BYTES // _MIB} may; try again in a moment",
                retry_after=_RETRY_SECONDS,
            )
        self._waiting_bytes += held
        try:
            await self._room.acquire()
        finally:
            self._waiting_bytes -= held
        try:
            yield
        finally:
            self._room.release()
