"""Entries as rows of the log's table."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from infrafabric_server.witness.models import Entry, EntryFilter

# One index for each filter; the sequence at its end keeps the entries in order.
SCHEMA = """
CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY,
    entry_id TEXT NOT NULL UNIQUE,
    decide_time INTEGER NOT NULL,  -- microseconds since 1970-01-01T00:00:00Z
    component TEXT NOT NULL,
    operation TEXT NOT NULL,
    swarm_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX entries_time ON entries (decide_time);
CREATE INDEX entries_component ON entries (component);
CREATE INDEX entries_operation ON entries (operation);
CREATE INDEX entries_swarm ON entries (swarm_id);
CREATE INDEX entries_task ON entries (task_id);
CREATE TRIGGER entries_keep BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'the witness log is append-only'); END;
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'the witness log is append-only'); END;
"""

_SELECT = """
SELECT sequence, entry_id, decide_time, component, operation, swarm_id, task_id, attempt,
       revision, body, previous_hash, hash
FROM entries
"""
_INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SEALED = "WHERE entry_id IN (SELECT value FROM json_each(?)) ORDER BY sequence"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ALL_TIME = (-(2**63), 2**63 - 1)

# A body is up to 256 Ki characters: a page of large entries ends after about this many.
_PAGE_CHARACTERS = 1024 * 1024


def insert(connection: sqlite3.Connection, entry: Entry) -> None:
    """Add `entry` within the open transaction."""
    connection.execute(_INSERT, _row(entry))


def sealed(connection: sqlite3.Connection, entry_ids: Sequence[str]) -> list[Entry]:
    """Return those entries that have one of `entry_ids`, by sequence."""
    rows = connection.execute(_SELECT + _SEALED, (json.dumps(entry_ids),))
    return [_entry(row) for row in rows]


def last(connection: sqlite3.Connection) -> Entry | None:
    """Return the entry with the highest sequence."""
    row = connection.execute(_SELECT + "ORDER BY sequence DESC LIMIT 1").fetchone()
    return None if row is None else _entry(row)


def get(connection: sqlite3.Connection, sequence: int) -> Entry | None:
    """Return one entry."""
    row = connection.execute(_SELECT + "WHERE sequence = ?", (sequence,)).fetchone()
    return None if row is None else _entry(row)


def all_entries(connection: sqlite3.Connection) -> Iterator[Entry]:
    """Yield every entry by sequence, as of one moment."""
    return map(_entry, connection.execute(_SELECT + "ORDER BY sequence"))


def read(
    connection: sqlite3.Connection, wanted: EntryFilter, after: int, upto: int, limit: int
) -> tuple[list[Entry], bool]:
    """Return the first matching entries with `after` < sequence <= `upto`, and if more follow."""
    conditions = ["WHERE sequence > ? AND sequence <= ?"]
    values: list[int | str] = [after, upto]
    # The most selective filter is looked up in its index; the plus keeps the planner,
    # which has no statistics, from choosing another.
    plus = ""
    for column in ("task_id", "swarm_id", "operation", "component"):
        value = getattr(wanted, column)
        if value:
            conditions.append(f"{plus}{column} = ?")
            values.append(value)
            plus = "+"
    if wanted.after is not None or wanted.before is not None:
        conditions.append("+decide_time >= ? AND +decide_time < ?")
        values.extend(_bounds(wanted.after, wanted.before))
    statement = _SELECT + " AND ".join(conditions) + " ORDER BY sequence LIMIT ?"
    entries: list[Entry] = []
    room = _PAGE_CHARACTERS
    for row in connection.execute(statement, (*values, limit + 1)):
        if len(entries) == limit or room <= 0:
            return entries, True
        entries.append(_entry(row))
        room -= len(entries[-1].body)
    return entries, False


def span(
    connection: sqlite3.Connection, after: datetime | None, before: datetime | None
) -> tuple[int, int]:
    """Return the first and last sequence decided in `after` <= time < `before`, or (1, 0)."""
    first, final = connection.execute(
        "SELECT min(sequence), max(sequence) FROM entries"
        " WHERE decide_time >= ? AND decide_time < ?",
        _bounds(after, before),
    ).fetchone()
    return (1, 0) if first is None else (first, final)


def _bounds(after: datetime | None, before: datetime | None) -> tuple[int, int]:
    least, most = _ALL_TIME
    return (
        least if after is None else (after - _EPOCH) // _MICROSECOND,
        most if before is None else (before - _EPOCH) // _MICROSECOND,
    )


def _row(entry: Entry) -> tuple[int | str, ...]:
    return (
        entry.sequence,
        entry.entry_id,
        (entry.decide_time - _EPOCH) // _MICROSECOND,
        entry.component,
        entry.operation,
        entry.swarm_id,
        entry.task_id,
        entry.attempt,
        entry.revision,
        entry.body,
        entry.previous_hash,
        entry.hash,
    )


def _entry(row: tuple[int, str, int, str, str, str, str, int, int, str, str, str]) -> Entry:
    try:
        time = _EPOCH + timedelta(microseconds=row[2])
    except (OverflowError, TypeError):
        # Only in a damaged row; the verifier sees that the body says otherwise.
        time = datetime.min.replace(tzinfo=UTC)
    return Entry(row[0], row[1], time, *row[3:])
