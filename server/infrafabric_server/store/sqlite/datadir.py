"""The data directory: locked for one process, and opened only when it is sound."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from infrafabric_server.store.data_format import (
    DATA_FORMAT,
    UNNAMED,
    OtherFormat,
    check_data_format,
)
from infrafabric_server.store.disk_errors import MAKE_ROOM, is_of_disk
from infrafabric_server.store.protocol import StoreRefused
from infrafabric_server.store.sqlite.schema import (
    APPLICATION_ID,
    FORMAT,
    MARKS,
    META,
    SCHEMA,
    revision_of,
)
from infrafabric_server.store.sqlite.writer import State

DATABASE = "fabric.db"
# While it is there, the directory is being filled by a restore.
RESTORING = "fabric.restoring"
_LOCK_FILE = "fabric.lock"
_PRIVATE = 0o600
# The writer's statements differ by their number of rows; all of them stay prepared.
_STATEMENTS = 256
# One for a long walk and one for everybody else: the machine has few cores to spare.
_READERS = 2
# After a burst, the write-ahead log is cut back to this many bytes.
_WAL_LIMIT = 64 * 1024 * 1024
_RESTORE = "restore the directory from a backup, or move it away to begin anew"


class DataDir:
    """A data directory that belongs to this process until it is closed.

    The lock is the kernel's: it ends with the process, however that ends.

    Args:
        path: the directory; it is made if it does not exist.
        quota: bytes that the database may grow to, or None.

    Raises:
        StoreRefused: it cannot be used, or another process uses it.
    """

    def __init__(self, path: Path, quota: int | None = None) -> None:
        self.database = path / DATABASE
        try:
            with ExitStack() as resources:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                resources.enter_context(lock(path))
                if (path / RESTORING).exists():
                    raise StoreRefused(
                        f"the restore into {path} was cut off; repeat `infrafabric store restore`"
                    )
                # SQLite gives its other files the mode of this one.
                os.close(os.open(self.database, os.O_RDWR | os.O_CREAT, _PRIVATE))
                self.connection = resources.enter_context(closing(self._connect()))
                self._check()
                if quota is not None:
                    pages = max(1, quota // self._pragma("page_size"))
                    self._pragma(f"max_page_count={pages}")
                self.readers = [
                    resources.enter_context(closing(self._connect())) for _ in range(_READERS)
                ]
                self.state = _read_state(self.connection)
                self._resources = resources.pop_all()
        except OSError as error:
            raise StoreRefused(
                f"cannot write to {error.filename}: {error.strerror}; make {path} a directory "
                "that this user may write to, or choose another one"
            ) from error
        except sqlite3.Error as error:
            what_to_do = MAKE_ROOM if is_of_disk(error) else _RESTORE
            raise StoreRefused(f"{self.database} cannot be used ({error}); {what_to_do}") from error

    def close(self) -> None:
        """Close all connections, the last of which tidies up, and give up the directory."""
        self._resources.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.database,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS,
        )
        # Each commit is flushed to the disk before it is acknowledged.
        connection.execute("PRAGMA synchronous=FULL")
        # What is deleted is not overwritten with zeros, which some builds of SQLite do.
        connection.execute("PRAGMA secure_delete=OFF")
        # The store moves the log into the database by itself, beside the writer.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT}")
        return connection

    def _check(self) -> None:
        application = self._pragma("application_id")
        if application == self._pragma("schema_version") == 0:
            self._pragma("journal_mode=WAL")
            self.connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} {MARKS} COMMIT")
            return
        check_format(self.connection, self.database)
        verdict = self._pragma("quick_check(1)")
        if verdict != "ok":
            raise self._refused(f"is damaged ({verdict})")
        known = {row[0] for row in self.connection.execute("SELECT name FROM meta")}
        if missing := META - known:
            raise self._refused(f"is damaged (meta lacks {', '.join(sorted(missing))})")
        self._pragma("journal_mode=WAL")
        if _data_format(self.connection) != DATA_FORMAT:
            # Before anything that an older release would misread.
            raised = "INSERT OR REPLACE INTO meta VALUES ('data_format', ?)"
            self.connection.execute(raised, (DATA_FORMAT,))

    def _pragma(self, name: str) -> Any:
        return self.connection.execute(f"PRAGMA {name}").fetchone()[0]

    def _refused(self, why: str) -> StoreRefused:
        return StoreRefused(f"{self.database} {why}; {_RESTORE}")


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Have the directory for this process alone within the block.

    Raises StoreRefused when another process has it, OSError when it cannot be written to.
    """
    descriptor = os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT, _PRIVATE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreRefused(
                f"the data directory {path} is in use by another process; "
                "stop that one, or choose another directory"
            ) from error
        yield
    finally:
        os.close(descriptor)


def check_format(connection: sqlite3.Connection, database: Path) -> None:
    """Raise StoreRefused unless `database` is one of this program, in formats that it knows."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise StoreRefused(f"{database} is not a database of this program; {_RESTORE}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise OtherFormat(
            f"{database} has tables of format {version}, and this release knows format {FORMAT}; "
            "start the release that wrote them, or a newer one"
        )
    check_data_format(str(database), _data_format(connection))


def _data_format(connection: sqlite3.Connection) -> Any:
    found = connection.execute("SELECT value FROM meta WHERE name = 'data_format'").fetchone()
    return found[0] if found else UNNAMED


def _read_state(connection: sqlite3.Connection) -> State:
    newest = connection.execute("SELECT max(id) FROM log").fetchone()[0] or 0
    ttls = dict(connection.execute("SELECT id, ttl FROM leases"))
    counter = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'leases'").fetchone()
    return State(revision_of(newest), ttls, counter[0] if counter else 0)
