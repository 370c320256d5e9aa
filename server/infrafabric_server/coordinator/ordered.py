"""Named values of which the smallest key goes first: in memory, without I/O."""

import heapq
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Any)
Value = TypeVar("Value")

# Entries that were replaced stay in the heap until they are this many and outnumber the live ones.
_SLACK = 64


class Ordered(Generic[Key, Value]):
    """A queue of values by key, equal keys by name; each change costs the logarithm of its size."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Key, Value]] = {}
        self._heap: list[tuple[Key, str]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def put(self, name: str, key: Key, value: Value) -> None:
        """Enter a value, in place of the one of the same name."""
        self._entries[name] = (key, value)
        heapq.heappush(self._heap, (key, name))
        if len(self._heap) > _SLACK + 4 * len(self._entries):
            self._heap = [(each, name) for name, (each, _) in self._entries.items()]
            heapq.heapify(self._heap)

    def discard(self, name: str) -> None:
        """Take a value out; an unknown name changes nothing."""
        self._entries.pop(name, None)

    def first(self) -> Key | None:
        """Return the smallest key, None when nothing is here."""
        while self._heap:
            key, name = self._heap[0]
            entry = self._entries.get(name)
            if entry is not None and entry[0] == key:
                return key
            heapq.heappop(self._heap)
        return None

    def pop(self) -> Value:
        """Take the value of the smallest key out. Raises KeyError when nothing is here."""
        if self.first() is None:
            raise KeyError("nothing waits here")
        _, name = heapq.heappop(self._heap)
        return self._entries.pop(name)[1]
