"""The statements of the writer: few per group, since each waits for the interpreter's lock.

SQLite releases the lock at every step and takes it again, behind whatever runs in the event
loop. So what a group has to know comes as one row of JSON, and what it writes goes in with
as few statements as it can.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain

from infrafabric_server.store.protocol import Field, Get
from infrafabric_server.store.sqlite.group import Command, Group, Known, Revoke, Row
from infrafabric_server.store.sqlite.transaction import transaction
from infrafabric_server.store.transactions import Fold, Txn

_KNOWN = """
SELECT json_group_array(json_array(key, id, create_revision, version, lease,
  CASE WHEN key IN (SELECT value FROM json_each(?2))
  THEN (SELECT log.value FROM log WHERE log.id = kv.id) END))
FROM kv WHERE key IN (SELECT value FROM json_each(?1))
"""
_ATTACHED = """
SELECT json_group_array(json_array(key, id, create_revision, version, lease, NULL))
FROM kv WHERE lease <> 0 AND lease IN (SELECT value FROM json_each(?))
"""
# Rows per INSERT; each number of rows is a statement that stays prepared.
_ROWS = 128
_COLUMNS = 7


def known(connection: sqlite3.Connection, commands: Iterable[Command]) -> Iterable[Known]:
    """Return what the store has of all keys that the commands look at."""
    keys: set[str] = set()
    values: set[str] = set()
    revoked: list[int] = []
    for command in commands:
        if isinstance(command, Txn | Fold):
            for compare in command.compares:
                (values if compare.field is Field.VALUE else keys).add(compare.key)
            for op in command.ops:
                (values if isinstance(op, Get) else keys).add(op.key)
            if isinstance(command, Fold):
                values.update(compare.key for compare in command.guard)
        elif isinstance(command, Revoke):
            revoked.append(command.lease)
    found: dict[str, Known] = {}
    if revoked:
        found.update((row[0], row) for row in _rows(connection, _ATTACHED, revoked))
    if keys or values:
        wanted = list(keys | values)
        found.update((row[0], row) for row in _rows(connection, _KNOWN, wanted, list(values)))
    return found.values()


def write(connection: sqlite3.Connection, group: Group) -> None:
    """Make durable what a group changed, all of it or nothing."""
    lease_rows = list(group.granted.items())
    if not lease_rows and not group.revoked and len(group.rows) <= _ROWS:
        if group.rows:
            _insert(connection, group.rows)
        return
    with transaction(connection):
        if lease_rows:
            connection.executemany("INSERT INTO leases VALUES (?, ?)", lease_rows)
        if group.revoked:
            connection.execute(
                "DELETE FROM leases WHERE id IN (SELECT value FROM json_each(?))",
                (json.dumps(group.revoked),),
            )
        for start in range(0, len(group.rows), _ROWS):
            _insert(connection, group.rows[start : start + _ROWS])


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    places = ",".join(["(" + ",".join("?" * _COLUMNS) + ")"] * len(rows))
    statement = f"INSERT INTO log VALUES {places}"  # noqa: S608  # places are question marks
    connection.execute(statement, list(chain.from_iterable(rows)))


def _rows(
    connection: sqlite3.Connection, statement: str, *parameters: Sequence[str] | Sequence[int]
) -> list[Known]:
    texts = [json.dumps(parameter, ensure_ascii=False) for parameter in parameters]
    rows: list[Known] = json.loads(connection.execute(statement, texts).fetchone()[0])
    return rows
