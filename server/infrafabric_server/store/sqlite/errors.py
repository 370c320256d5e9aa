"""What SQLite's errors mean for the caller of a store."""

import sqlite3

from infrafabric_server.store.disk_errors import is_full
from infrafabric_server.store.protocol import StoreError, StoreFull, StoreUnavailable


def store_error(error: sqlite3.Error) -> StoreError:
    """Return the port's error for one of SQLite's, met while reading or writing."""
    if is_full(error):
        return StoreFull(f"the disk of the data directory or its quota is full ({error})")
    # Errors that Python itself raises, such as for a closed connection, carry no name.
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreUnavailable(f"the database failed: {error} ({name})")
