"""The witness log in memory, for tests: the same chain, gone with the process."""

from collections.abc import Sequence
from datetime import datetime

from infrafabric_server.store.protocol import KeyValue, StoreClosed, StoreUnavailable
from infrafabric_server.witness.drafts import entry_ids, seal_drafts
from infrafabric_server.witness.models import Entry, EntryFilter


class MemoryWitnessLog:
    """The adapter of WitnessLog that keeps its entries in a list."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._by_id: dict[str, Entry] = {}
        self._closed = False

    async def append(self, waiting: Sequence[KeyValue]) -> list[Entry]:
        """Seal drafts at the end of the chain, in the order given; see WitnessLog."""
        self._check()
        for entry in seal_drafts(
            waiting, self._by_id, self._entries[-1] if self._entries else None
        ):
            self._entries.append(entry)
            self._by_id[entry.entry_id] = entry
        found = {self._by_id[entry_id] for entry_id in entry_ids(waiting)}
        return sorted(found, key=lambda entry: entry.sequence)

    async def extend(self, entries: Sequence[Entry]) -> None:
        """Add entries that are sealed already; see CopyFile."""
        self._check()
        for entry in entries:
            if entry.sequence != len(self._entries) + 1:
                raise StoreUnavailable(f"entry {entry.sequence} does not come next")
            self._entries.append(entry)
            self._by_id[entry.entry_id] = entry

    async def find(self, entry_ids: Sequence[str]) -> list[Entry]:
        """Return the entries that have one of these ids; see CopyFile."""
        self._check()
        found = {self._by_id[entry_id] for entry_id in entry_ids if entry_id in self._by_id}
        return sorted(found, key=lambda entry: entry.sequence)

    async def read(
        self, wanted: EntryFilter, *, after: int, upto: int, limit: int
    ) -> tuple[list[Entry], bool]:
        """Return the first matching entries with `after` < sequence <= `upto`; see WitnessLog."""
        self._check()
        found = [entry for entry in self._entries[after:upto] if wanted.matches(entry)]
        return found[:limit], len(found) > limit

    async def span(self, after: datetime | None, before: datetime | None) -> tuple[int, int]:
        """Return the first and the last sequence decided in a span of time; see WitnessLog."""
        self._check()
        wanted = EntryFilter(after=after, before=before)
        found = [entry.sequence for entry in self._entries if wanted.matches(entry)]
        return (found[0], found[-1]) if found else (1, 0)

    async def last(self) -> Entry | None:
        """Return the last entry of the chain, or None when it is empty."""
        self._check()
        return self._entries[-1] if self._entries else None

    async def close(self) -> None:
        """Refuse everything from now on. Safe to repeat."""
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise StoreClosed("the witness log was closed")
