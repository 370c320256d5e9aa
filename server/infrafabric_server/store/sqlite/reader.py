"""Reads, in threads of their own: they see what is durable, and never hold up the writer."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from queue import SimpleQueue
from typing import TypeVar

from infrafabric_server.store.checks import check_revision
from infrafabric_server.store.protocol import (
    Compacted,
    Event,
    KeyValue,
    RangeResult,
    WatchBatch,
)
from infrafabric_server.store.sqlite.errors import store_error
from infrafabric_server.store.sqlite.schema import AFTER_ALL_KEYS, first_id, revision_of
from infrafabric_server.store.transactions import prefix_end
from infrafabric_server.store.watching import HistoryPage

T = TypeVar("T")

# A page of history ends with the revision in which it grows over one of these.
_PAGE_EVENTS = 1000
_PAGE_CHARACTERS = 4 * 1024 * 1024

_GET = "SELECT key, value, create_revision, id, version, lease FROM live WHERE key = ?"
# What is unchanged since the pinned revision, and what the first later change replaced.
# Each part is cut to the page before they are merged, so that a page reads no more than it
# returns, beside the changes since the pinned revision.
_RANGE = """
WITH changed AS (
  SELECT key, min(id), previous FROM log
  WHERE id >= :bound AND key >= :start AND key < :end GROUP BY key
)
SELECT * FROM (
  SELECT * FROM live WHERE key >= :start AND key < :end AND id < :bound ORDER BY key LIMIT :limit
)
UNION ALL
SELECT * FROM (
  SELECT log.key, log.value, log.create_revision, log.id, log.version, log.lease
  FROM changed JOIN log ON log.id = changed.previous ORDER BY log.key LIMIT :limit
)
ORDER BY key LIMIT :limit
"""
_HISTORY = """
SELECT id, key, value, create_revision, version, lease FROM log
WHERE id >= ? AND key >= ? AND key < ? ORDER BY id
"""


class Reader:
    """Answers reads from connections that see one committed state for each question.

    Args:
        connections: used by one thread each from now on.
    """

    def __init__(self, connections: Sequence[sqlite3.Connection]) -> None:
        self._threads = ThreadPoolExecutor(len(connections), "store-reader")
        self._free: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for connection in connections:
            self._free.put(connection)

    async def get(self, key: str) -> KeyValue | None:
        """Return `key` as it is now, or None."""
        return await self.run(lambda connection: _get(connection, key))

    async def range(self, prefix: str, limit: int, after: str, revision: int) -> RangeResult:
        """Return a page of keys. Raises Compacted, and ValueError for a revision to come."""
        return await self.run(lambda c: _range(c, prefix, limit, after, revision))

    async def history(self, prefix: str, start: int) -> HistoryPage:
        """Return whole revisions from `start` on. Raises Compacted."""
        return await self.run(lambda connection: _history(connection, prefix, start))

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Run `read` in one of the threads. Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, read)

    async def close(self) -> None:
        """Finish what was asked."""
        await asyncio.to_thread(self._threads.shutdown)

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._free.get()
        try:
            return read(connection)
        except sqlite3.Error as error:
            raise store_error(error) from error
        finally:
            self._free.put(connection)


def _get(connection: sqlite3.Connection, key: str) -> KeyValue | None:
    with closing(connection.execute(_GET, (key,))) as rows:
        row = rows.fetchone()
    return _entry(*row) if row else None


def _range(
    connection: sqlite3.Connection, prefix: str, limit: int, after: str, revision: int
) -> RangeResult:
    with _snapshot(connection) as (newest, compacted):
        check_revision(revision, newest)
        if 0 < revision < compacted:
            raise Compacted(compacted)
        at = revision or newest
        parameters = {
            # The smallest text after another one is that one with a NUL behind it.
            "start": max(prefix, after + "\0") if after else prefix,
            "end": prefix_end(prefix) or AFTER_ALL_KEYS,
            "bound": first_id(at + 1),
            "limit": limit + 1,
        }
        entries = [_entry(*row) for row in connection.execute(_RANGE, parameters)]
    return RangeResult(tuple(entries[:limit]), at, more=len(entries) > limit)


def _history(connection: sqlite3.Connection, prefix: str, start: int) -> HistoryPage:
    end = prefix_end(prefix) or AFTER_ALL_KEYS
    batches: list[WatchBatch] = []
    events: list[Event] = []
    count = size = current = 0
    with (
        _snapshot(connection) as (newest, compacted),
        closing(connection.execute(_HISTORY, (first_id(start), prefix, end))) as rows,
    ):
        if start < compacted:
            raise Compacted(compacted)
        for id_, key, value, create_revision, version, lease in rows:
            revision = revision_of(id_)
            if revision != current:
                if events:
                    batches.append(WatchBatch(current, tuple(events)))
                if count > _PAGE_EVENTS or size > _PAGE_CHARACTERS:
                    return HistoryPage(batches, current)
                current, events = revision, []
            kv = None
            if value is not None:
                kv = KeyValue(key, value, create_revision, revision, version, lease)
            events.append(Event(key, kv))
            count += 1
            size += len(value or "")
    if events:
        batches.append(WatchBatch(current, tuple(events)))
    return HistoryPage(batches, newest)


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[tuple[int, int]]:
    """Hold one committed state; yield its newest and its oldest revision."""
    connection.execute("BEGIN")
    try:
        row = connection.execute(
            "SELECT (SELECT max(id) FROM log), (SELECT value FROM meta WHERE name = 'compacted')"
        ).fetchone()
        yield revision_of(row[0] or 0), row[1]
    finally:
        connection.execute("ROLLBACK")


def _entry(
    key: str, value: str, create_revision: int, id_: int, version: int, lease: int
) -> KeyValue:
    return KeyValue(key, value, create_revision, revision_of(id_), version, lease)
