"""One connection to a SQLite file, in a thread of its own, that is opened anew after an error."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from infrafabric_server.store.disk_errors import is_full
from infrafabric_server.store.protocol import (
    StoreClosed,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

ResultT = TypeVar("ResultT")


class Lane:
    """Runs work on a connection, one piece after the other, without blocking the event loop."""

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection]) -> None:
        """Take what is opened, and how; `connect` is called in the thread, before the work."""
        self._path = path
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=path.stem)
        self._closed = False

    async def run(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """Return what `work` returns; the work goes on when the caller is cancelled.

        Raises:
            StoreFull: the disk is full.
            StoreUnavailable: any other failure of the file; the next call opens it anew.
            StoreClosed: after `close`.
        """
        if self._closed:
            raise StoreClosed(f"{self._path.name} was closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._work, work)

    async def close(self) -> None:
        """Finish what was begun, then close the connection. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._executor, self._drop)
        self._executor.shutdown(wait=False)

    def _work(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        try:
            return work(self._connected())
        except (OSError, sqlite3.Error) as error:
            self._drop()
            raise self._translated(error) from error

    def _connected(self) -> sqlite3.Connection:
        # SQLite goes on writing to a file that was moved or removed; nobody would find it.
        if self._connection is not None and self._identity() != self._file:
            self._drop()
        if self._connection is None:
            self._connection = self._connect(self._path)
            self._file = self._identity()
        return self._connection

    def _identity(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_dev, status.st_ino

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _translated(self, error: OSError | sqlite3.Error) -> StoreError:
        if is_full(error):
            return StoreFull(f"no room to write {self._path}")
        return StoreUnavailable(f"{self._path}: {error}")
