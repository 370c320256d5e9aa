"""The witness log in a SQLite file of its own, so that its disk is nobody else's trouble."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

from infrafabric_server.store.protocol import KeyValue, StoreUnavailable
from infrafabric_server.witness import sqlite_open, sqlite_rows
from infrafabric_server.witness.batches import misfit
from infrafabric_server.witness.drafts import entry_ids, seal_drafts
from infrafabric_server.witness.models import Entry, EntryFilter
from infrafabric_server.witness.sqlite_lane import Lane


class SqliteWitnessLog:
    """The adapter of WitnessLog: one thread writes, another one reads."""

    def __init__(self, path: Path, *, copy: bool = False) -> None:
        """Take the path of the file; `open` makes one that is ready."""
        self._copy = copy
        self._writer = Lane(path, self._connect)
        self._reader = Lane(path, sqlite_open.open_reader)
        self._lock: int | None = None
        self._head: Entry | None = None
        self._opened = False

    @classmethod
    async def open(cls, directory: Path, *, copy: bool = False) -> Self:
        """Open the log in `directory`, or create it, for this process alone.

        A `copy` of a log that is elsewhere may lose its end when the machine loses power; it
        is never damaged by that.

        Raises:
            StoreRefused: it is in use, not a witness log, of a newer format, or damaged.
        """
        log = cls(directory / sqlite_open.FILE_NAME, copy=copy)
        log._lock = sqlite_open.lock(directory)
        try:
            await log._writer.run(lambda _: None)
        except BaseException:
            await log.close()
            raise
        return log

    async def append(self, waiting: Sequence[KeyValue]) -> list[Entry]:
        """Seal drafts at the end of the chain, in the order given; see WitnessLog."""
        return await self._writer.run(partial(self._append, waiting))

    async def extend(self, entries: Sequence[Entry]) -> None:
        """Add entries that are sealed already; see CopyFile."""
        await self._writer.run(partial(self._extend, entries))

    async def find(self, entry_ids: Sequence[str]) -> list[Entry]:
        """Return the entries that have one of these ids; see CopyFile."""
        return await self._reader.run(lambda connection: sqlite_rows.sealed(connection, entry_ids))

    async def read(
        self, wanted: EntryFilter, *, after: int, upto: int, limit: int
    ) -> tuple[list[Entry], bool]:
        """Return the first matching entries with `after` < sequence <= `upto`; see WitnessLog."""
        return await self._reader.run(
            lambda connection: sqlite_rows.read(connection, wanted, after, upto, limit)
        )

    async def span(self, after: datetime | None, before: datetime | None) -> tuple[int, int]:
        """Return the first and the last sequence decided in a span of time; see WitnessLog."""
        return await self._reader.run(
            lambda connection: sqlite_rows.span(connection, after, before)
        )

    async def last(self) -> Entry | None:
        """Return the last entry of the chain, or None when it is empty."""
        return await self._reader.run(sqlite_rows.last)

    async def close(self) -> None:
        """Finish what was begun, then release the file. Safe to repeat."""
        # The last connection brings everything into the one file; a reader may not.
        await self._reader.close()
        await self._writer.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _connect(self, path: Path) -> sqlite3.Connection:
        if not self._opened:
            connection = sqlite_open.create_or_open(path, copy=self._copy)
            self._head = sqlite_rows.last(connection)
            self._opened = True
            return connection
        connection = sqlite_open.open_writer(path, copy=self._copy)
        try:
            self._check_head(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_head(self, connection: sqlite3.Connection, path: Path) -> None:
        # What came back must be the log that was lost, not an older copy of it.
        head = self._head
        if head is not None and sqlite_rows.get(connection, head.sequence) != head:
            raise StoreUnavailable(
                f"{path} lacks entry {head.sequence}, which was written to it before;"
                " put the file back that was there"
            )

    def _append(self, waiting: Sequence[KeyValue], connection: sqlite3.Connection) -> list[Entry]:
        return self._write(partial(_seal, waiting), connection)

    def _extend(self, entries: Sequence[Entry], connection: sqlite3.Connection) -> None:
        self._write(partial(_insert, entries), connection)

    def _write(
        self, work: Callable[[sqlite3.Connection], list[Entry]], connection: sqlite3.Connection
    ) -> list[Entry]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            entries = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        # Sealed before or now, the last one by sequence is not always the end of the log.
        if entries and (self._head is None or entries[-1].sequence > self._head.sequence):
            self._head = entries[-1]
        return entries


def _seal(waiting: Sequence[KeyValue], connection: sqlite3.Connection) -> list[Entry]:
    entries = sqlite_rows.sealed(connection, entry_ids(waiting))
    known = {entry.entry_id for entry in entries}
    for entry in seal_drafts(waiting, known, sqlite_rows.last(connection)):
        # One by one: each insertion lets the event loop's thread run in between.
        sqlite_rows.insert(connection, entry)
        entries.append(entry)
    return entries


def _insert(entries: Sequence[Entry], connection: sqlite3.Connection) -> list[Entry]:
    if reason := misfit(sqlite_rows.last(connection), entries[0]):
        raise StoreUnavailable(f"the copy of the witness log was changed: {reason}")
    for entry in entries:
        sqlite_rows.insert(connection, entry)
    return list(entries)
