"""What the database needs now and then: compaction, checkpoints, a proof that it can write."""

import sqlite3

from infrafabric_server.store.sqlite.schema import first_id
from infrafabric_server.store.sqlite.transaction import transaction

# Rows of the log per step: under a millisecond, so that a group hardly waits.
_SWEEP = 256


def compact(connection: sqlite3.Connection, revision: int) -> None:
    """Refuse history before `revision` from now on; `sweep` then deletes it."""
    with transaction(connection):
        compacted = _meta(connection)["compacted"]
        # What the last sweep kept because it could still be asked for is looked at again.
        connection.execute(
            "UPDATE meta SET value = min(value, ?) WHERE name = 'swept'",
            (first_id(compacted) - 1,),
        )
        connection.execute(
            "UPDATE meta SET value = max(value, ?) WHERE name = 'compacted'", (revision,)
        )


def sweep(connection: sqlite3.Connection) -> bool:
    """Delete some of what compaction made superfluous; return whether there is more.

    Up to the compacted revision, a row is superfluous when a later one replaced it, and so
    is a deletion, except one at that very revision, which can still be watched.
    """
    meta = _meta(connection)
    bounds = {
        "swept": meta["swept"],
        "kept": first_id(meta["compacted"]),
        "end": first_id(meta["compacted"] + 1),
        "rows": _SWEEP,
    }
    last, count = connection.execute(
        "SELECT max(id), count(*) FROM ("
        "SELECT id FROM log WHERE id > :swept AND id < :end ORDER BY id LIMIT :rows)",
        bounds,
    ).fetchone()
    if count == 0:
        return False
    with transaction(connection):
        connection.execute(
            "DELETE FROM log WHERE id IN ("
            "SELECT previous FROM log WHERE id > :swept AND id <= :last AND previous <> 0 "
            "UNION ALL "
            "SELECT id FROM log WHERE id > :swept AND id <= :last AND id < :kept "
            "AND value IS NULL)",
            {**bounds, "last": last},
        )
        connection.execute("UPDATE meta SET value = ? WHERE name = 'swept'", (last,))
    return bool(count == _SWEEP)


def checkpoint(connection: sqlite3.Connection) -> None:
    """Move what is in the write-ahead log into the database, as far as nobody is in the way."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def probe(connection: sqlite3.Connection) -> None:
    """Write something, durably."""
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'probe'")


def _meta(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT name, value FROM meta"))
