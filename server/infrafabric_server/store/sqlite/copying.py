"""Reading a whole database at one revision, and making one of what was read elsewhere."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from infrafabric_server.store.disk_errors import MAKE_ROOM, is_of_disk
from infrafabric_server.store.protocol import KeyValue, StoreFull, StoreRefused
from infrafabric_server.store.sqlite.datadir import DATABASE, RESTORING, check_format, lock
from infrafabric_server.store.sqlite.schema import (
    MARKS,
    SCHEMA,
    SHIFT,
    first_id,
    revision_of,
)
from infrafabric_server.store.sqlite.transaction import transaction

_LIVE = "SELECT key, value, create_revision, id, version, lease FROM live ORDER BY key"
# A row goes behind those of the same revision that are there.
_ADD = """
INSERT INTO log SELECT ifnull(
  (SELECT max(id) + 1 FROM log WHERE id >= :first AND id < :next), :first
), :key, :value, :created, :changes, 0, 0
"""
# A deletion of a key that nobody has; see `fill`.
_MARK_KEY = "restored"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a database at `revision`, for as long as the block that made it."""

    revision: int
    _connection: sqlite3.Connection

    def kvs(self) -> Iterator[KeyValue]:
        """Yield every key in order."""
        for key, value, created, id_, version, lease in self._connection.execute(_LIVE):
            yield KeyValue(key, value, created, revision_of(id_), version, lease)


@contextmanager
def snapshot(directory: Path) -> Iterator[Snapshot]:
    """Hold the present state of the database in `directory`; a running server does not mind.

    Raises:
        StoreRefused: there is no database that this program can read.
    """
    with _reading(directory, "mode=ro") as connection:
        connection.execute("BEGIN")
        (newest,) = connection.execute("SELECT max(id) FROM log").fetchone()
        yield Snapshot(revision_of(newest or 0), connection)


def look(directory: Path) -> bool:
    """Tell whether a database is in `directory`; nothing is left there by looking.

    Raises:
        StoreRefused: it is none that this program can read; OtherFormat if another release can.
    """
    if not (directory / DATABASE).exists():
        return False
    # Beside a database that nobody uses, SQLite would leave files of whoever looks.
    used = (directory / f"{DATABASE}-wal").exists()
    with _reading(directory, "mode=ro" if used else "immutable=1"):
        return True


@contextmanager
def _reading(directory: Path, mode: str) -> Iterator[sqlite3.Connection]:
    path = directory / DATABASE
    if was_cut_off(directory):
        raise StoreRefused(f"{directory} holds a part of a restored fabric; restore it again")
    try:
        uri = f"{path.absolute().as_uri()}?{mode}"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            check_format(connection, path)
            yield connection
    except sqlite3.Error as error:
        raise StoreRefused(
            f"{path} cannot be read ({error}); name the data directory of a fabric"
        ) from error


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Keep servers from `directory` within the block. Raises StoreRefused if one uses it."""
    with lock(directory):
        yield


def was_cut_off(directory: Path) -> bool:
    """Tell whether `directory` holds a part of a fabric, as a restore into it was cut off."""
    return (directory / RESTORING).exists()


def is_empty(directory: Path) -> bool:
    """Tell whether no fabric has begun in `directory`; what a cut restore left does not count."""
    if was_cut_off(directory) or not (directory / DATABASE).exists():
        return True
    with snapshot(directory) as state:
        return state.revision == 0


def begin(directory: Path) -> None:
    """Take note on the disk that `directory` is being filled, and remove its empty database."""
    mark = directory / RESTORING
    os.close(os.open(mark, os.O_WRONLY | os.O_CREAT, 0o600))
    for suffix in ("", "-wal", "-shm", "-journal"):
        (directory / f"{DATABASE}{suffix}").unlink(missing_ok=True)


def fill(directory: Path, kvs: Iterable[KeyValue], revision: int) -> None:
    """Make the database of `kvs`, in which they have their revisions, and go on from `revision`.

    The new state is one revision later, the only one that can be asked for: what was deleted
    at `revision` itself nobody knows any more.

    Raises:
        StoreFull: the disk is full.
    """
    path = directory / DATABASE
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(f"BEGIN; {SCHEMA} {MARKS} COMMIT;")
            with transaction(connection):
                connection.executemany(_ADD, map(_row, kvs))
                now = revision + 1
                connection.execute(
                    "INSERT INTO log VALUES (?, ?, NULL, 0, 0, 0, 0)", (first_id(now), _MARK_KEY)
                )
                connection.executemany(
                    "UPDATE meta SET value = ? WHERE name = ?",
                    [(now, "compacted"), (first_id(now) - 1, "swept")],
                )
    except sqlite3.Error as error:
        if is_of_disk(error):
            raise StoreFull(f"{path} cannot be written ({error}); {MAKE_ROOM}") from error
        raise


def finish(directory: Path) -> None:
    """Let servers use `directory`: all of it is on the disk."""
    (directory / RESTORING).unlink()


def _row(kv: KeyValue) -> dict[str, str | int]:
    first = first_id(kv.mod_revision)
    return {
        "first": first,
        "next": first + (1 << SHIFT),
        "key": kv.key,
        "value": kv.value,
        "created": kv.create_revision,
        "changes": kv.version,
    }
