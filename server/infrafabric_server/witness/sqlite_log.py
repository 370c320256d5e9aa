"""The witness log in a SQLite file of its own, so that its disk is nobody else's trouble."""

import os
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

from infrafabric_server.store.protocol import KeyValue, StoreUnavailable
from infrafabric_server.witness import sqlite_open, sqlite_rows
from infrafabric_server.witness.drafts import entry_ids, seal_drafts
from infrafabric_server.witness.models import Entry, EntryFilter
from infrafabric_server.witness.sqlite_lane import Lane


class SqliteWitnessLog:
    """The adapter of WitnessLog: one thread writes, another one reads."""

    def __init__(self, path: Path) -> None:
        """Take the path of the file; `open` makes one that is ready."""
        self._writer = Lane(path, self._connect)
        self._reader = Lane(path, sqlite_open.open_reader)
        self._lock: int | None = None
        self._head: Entry | None = None
        self._opened = False

    @classmethod
    async def open(cls, directory: Path) -> Self:
        """Open the log in `directory`, or create it, for this process alone.

        Raises:
            StoreRefused: it is in use, not a witness log, of a newer format, or damaged.
        """
        log = cls(directory / sqlite_open.FILE_NAME)
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
            connection = sqlite_open.create_or_open(path)
            self._head = sqlite_rows.last(connection)
            self._opened = True
            return connection
        connection = sqlite_open.open_writer(path)
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
        connection.execute("BEGIN IMMEDIATE")
        try:
            entries = _seal(waiting, connection)
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
