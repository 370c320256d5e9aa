"""Turns: what is about one swarm, or one request, happens one after the other in this process."""

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """A lock for each name that somebody waits for or has; the others are forgotten."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, name: str) -> asyncio.Lock:
        """Return the lock of a name."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock
