"""Opening the file of the witness log: what is created, and what is refused and why."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from infrafabric_server.store.data_format import OtherFormat
from infrafabric_server.store.disk_errors import MAKE_ROOM, is_of_disk
from infrafabric_server.store.protocol import StoreRefused
from infrafabric_server.witness import sqlite_rows
from infrafabric_server.witness.chain import GENESIS, read_entry
from infrafabric_server.witness.models import Entry

FILE_NAME = "witness.db"
LOCK_NAME = "witness.lock"

# "IFWL": tells this file from any other SQLite database.
_APPLICATION = 0x4946574C
_FORMAT = 1
# Readers never hold the lock of the writer; whoever does is a tool of the operator.
_BUSY_SECONDS = 1.0


def lock(directory: Path) -> int:
    """Take the log of `directory` for this process; return the descriptor that holds it.

    Raises:
        StoreRefused: another process has it, or the directory cannot be written.
    """
    path = directory / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreRefused(f"cannot write {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreRefused(
            f"the witness log in {directory} is in use by another server;"
            " stop that one, or give this one another data directory"
        ) from error
    return descriptor


def create_or_open(path: Path, *, copy: bool = False) -> sqlite3.Connection:
    """Return a connection that writes to the log, which is created if it is not there.

    Args:
        path: of the file.
        copy: whether it is a copy of a log that is elsewhere.

    Raises:
        StoreRefused: the file is not a witness log, of a newer format, or damaged at its end;
            or the disk is full or fails.
    """
    try:
        # SQLite gives its other files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreRefused(f"cannot write {path}: {error.strerror}") from error
    try:
        connection = open_writer(path, copy=copy)
        try:
            _check_format(connection, path)
            _check_end(connection, path, copy=copy)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        if is_of_disk(error):
            raise StoreRefused(f"{path} cannot be used ({error}); {MAKE_ROOM}") from error
        raise _damaged(path, str(error), copy=copy) from error
    return connection


def open_writer(path: Path, *, copy: bool = False) -> sqlite3.Connection:
    """Return a connection that writes to an existing log, each commit durable.

    That of a `copy` need not be: what a failure of power takes from its end is copied again.
    """
    connection = _connect(path, "rw")
    try:
        # A new entry may then not take the place of an old one without its trigger.
        connection.execute("PRAGMA recursive_triggers = ON")
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if copy else 'FULL'}")
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that reads an existing log, also while another writes."""
    connection = _connect(path, "ro")
    # Damaged text is for the verifier to find, not for the reader to stumble over.
    connection.text_factory = _text
    return connection


def read_log(directory: Path) -> Iterator[Entry]:
    """Yield all entries of the log in `directory` by sequence; a running server does not mind.

    Raises:
        StoreRefused: there is no log, or the file cannot be read any further.
    """
    path = directory / FILE_NAME
    sequence = 0
    try:
        with closing(open_reader(path)) as connection:
            # Two damaged texts must not read alike, nor like one that is whole.
            connection.text_factory = _exact_text
            for entry in sqlite_rows.all_entries(connection):
                yield entry
                sequence = entry.sequence
    except sqlite3.DatabaseError as error:
        raise StoreRefused(f"cannot read {path} after entry {sequence}: {error}") from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # No transaction is begun behind our back.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
    )


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _exact_text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (changes,) = connection.execute("PRAGMA schema_version").fetchone()
    if application == changes == 0:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN; {sqlite_rows.SCHEMA} PRAGMA application_id = {_APPLICATION};"
            f" PRAGMA user_version = {_FORMAT}; COMMIT;"
        )
    elif application != _APPLICATION:
        raise StoreRefused(f"{path} is not a witness log; give the server another data directory")
    elif version != _FORMAT:
        raise OtherFormat(
            f"{path} has format {version}, and this release knows format {_FORMAT}; "
            "start the release that wrote it, or a newer one"
        )


def _check_end(connection: sqlite3.Connection, path: Path, *, copy: bool) -> None:
    entry = sqlite_rows.last(connection)
    if entry is None:
        return
    before = sqlite_rows.get(connection, entry.sequence - 1)
    try:
        described = read_entry(entry.body, GENESIS if before is None else before.hash)
    except ValueError as error:
        raise _damaged(path, f"entry {entry.sequence}: {error}", copy=copy) from error
    if described != entry or (before is None) != (entry.sequence == 1):
        reason = f"entry {entry.sequence} does not follow from the one before"
        raise _damaged(path, reason, copy=copy)


def _damaged(path: Path, why: str, *, copy: bool) -> StoreRefused:
    remedy = "remove it: it is copied anew from NATS" if copy else "restore it from a copy"
    return StoreRefused(
        f"the witness log {path} is damaged ({why}); look with `infrafabric witness verify"
        f" --data {path.parent}`, then {remedy}"
    )
