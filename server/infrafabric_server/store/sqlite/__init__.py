"""The store in one SQLite file: the embedded adapter."""

from infrafabric_server.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
