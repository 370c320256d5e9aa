"""Which of SQLite's errors speak of the disk, and not of what is on it."""

import sqlite3

# The low byte of an extended code is the kind of error.
_KIND = 0xFF

# What to do about one of them.
MAKE_ROOM = "make room on the disk, or see why it fails, and start again"


def is_full(error: BaseException) -> bool:
    """Tell whether the disk, or the quota of a database, has no room."""
    return _kind(error) == sqlite3.SQLITE_FULL


def is_of_disk(error: BaseException) -> bool:
    """Tell whether the disk refused to read or write, be it full or broken."""
    return _kind(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _kind(error: BaseException) -> int:
    # Errors that Python itself raises, such as for a closed connection, carry no code.
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & _KIND
