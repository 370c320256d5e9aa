"""The data directory of an embedded server, as the place of a fabric."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Iterable
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Self, TypeVar

from infrafabric_server.store.protocol import KeyValue, StoreRefused, StoreUnavailable
from infrafabric_server.store.sqlite import copying
from infrafabric_server.transfer.dumpfile import sync_directory
from infrafabric_server.transfer.dumpreader import Dump
from infrafabric_server.transfer.revisions import Renumber
from infrafabric_server.witness import sqlite_open, sqlite_rows
from infrafabric_server.witness.models import Entry

ItemT = TypeVar("ItemT")

_BATCH = 1_000


class FolderSource:
    """The fabric of a data directory, which a running server may go on changing."""

    kind = "sqlite"

    def __init__(self, directory: Path, state: copying.Snapshot) -> None:
        self._directory = directory
        self._state = state

    @property
    def revision(self) -> int:
        """See Source."""
        return self._state.revision

    async def kvs(self) -> AsyncGenerator[KeyValue, None]:
        """See Source."""
        async for kv in _in_turns(self._state.kvs()):
            yield kv

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """See Source."""
        # Read after the keys: a decision leaves the outbox when it is in the log.
        async for entry in _in_turns(sqlite_open.read_log(self._directory)):
            yield entry


class Folder:
    """See Place.

    Args:
        directory: the data directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._resources = ExitStack()
        self._locked = False

    async def source(self) -> FolderSource:
        """See Place."""
        state = self._resources.enter_context(copying.snapshot(self._directory))
        return FolderSource(self._directory, state)

    async def check_unused(self) -> None:
        """See Place: the directory is locked from then on."""
        self._lock()

    async def check_empty(self) -> None:
        """See Place: the directory is locked from then on, and made if it is not there."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        self._lock()
        log = self._directory / sqlite_open.FILE_NAME
        if not copying.is_empty(self._directory) or (
            not copying.was_cut_off(self._directory) and log.exists() and self._has_entries()
        ):
            raise StoreRefused(
                f"{self._directory} holds a fabric already; restore into an empty directory"
            )

    async def fill(self, dump: Dump) -> Renumber:
        """See Place: every key has the revisions that it had."""
        try:
            copying.begin(self._directory)
            log = self._directory / sqlite_open.FILE_NAME
            for suffix in ("", "-wal", "-shm"):
                log.with_name(log.name + suffix).unlink(missing_ok=True)
            copying.fill(self._directory, (kv for _, kv in dump.kvs()), dump.header.revision)
            _fill_log(log, dump)
            sync_directory(self._directory)
            copying.finish(self._directory)
            sync_directory(self._directory)
        except OSError as error:
            raise self._unusable(error) from error
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._directory} cannot be written: {error}") from error
        return _unchanged

    async def __aenter__(self) -> Self:
        """See Place."""
        return self

    async def __aexit__(self, *_error: object) -> None:
        """See Place."""
        self._resources.close()

    def _has_entries(self) -> bool:
        return any(True for _ in sqlite_open.read_log(self._directory))

    def _lock(self) -> None:
        if self._locked:
            return
        try:
            self._resources.enter_context(copying.held(self._directory))
        except OSError as error:
            raise self._unusable(error) from error
        self._locked = True

    def _unusable(self, error: OSError) -> StoreRefused:
        return StoreRefused(
            f"cannot use {error.filename or self._directory}: {error.strerror}; choose another "
            "directory, or make this one yours"
        )


async def _in_turns(items: Iterable[ItemT]) -> AsyncGenerator[ItemT, None]:
    # Connections to the other place want some of the loop's time, too.
    for number, item in enumerate(items):
        if number % _BATCH == 0:
            await asyncio.sleep(0)
        yield item


def _fill_log(path: Path, dump: Dump) -> None:
    entries = dump.entries()
    with closing(sqlite_open.create_or_open(path)) as connection:
        while batch := list(islice(entries, _BATCH)):
            connection.execute("BEGIN IMMEDIATE")
            for entry in batch:
                sqlite_rows.insert(connection, entry)
            connection.execute("COMMIT")


def _unchanged(revision: int) -> int:
    return revision
