"""Watches of the embedded adapters: from memory while they keep up, else from the history."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from infrafabric_server.store.progress import Progress
from infrafabric_server.store.protocol import StoreClosed, WatchBatch
from infrafabric_server.store.recent import Recent

# Characters of keys and values that are held for watches that are not far behind.
_CAPACITY = 16 * 1024 * 1024
# What an event takes beside its text, in the same unit.
_EVENT = 256


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Whole revisions out of the history: all that the prefix has up to `until`."""

    batches: Sequence[WatchBatch]
    until: int


class Watches:
    """Hands the changes of a store to all who watch it.

    Args:
        revision: newest revision of the store.
        read: returns a page of the history of a prefix from a revision on; raises Compacted.
        capacity: characters of the latest changes that are held in memory.
    """

    def __init__(
        self,
        revision: int,
        read: Callable[[str, int], Awaitable[HistoryPage]],
        capacity: int = _CAPACITY,
    ) -> None:
        self._progress = Progress(revision)
        self._recent: Recent[WatchBatch] = Recent(revision, capacity, _weight)
        self._read = read

    @property
    def revision(self) -> int:
        """The newest revision that was published."""
        return self._progress.newest

    def publish(self, batches: Sequence[WatchBatch]) -> None:
        """Show the next revisions, in order, to everyone."""
        for batch in batches:
            self._recent.append(batch.revision, batch)
        if batches:
            self._progress.advance(batches[-1].revision)

    def compacted(self, revision: int) -> None:
        """Take notice that nothing before `revision` may be shown any more."""
        self._recent.forget(revision - 1)

    def close(self) -> None:
        """End every watch with StoreClosed."""
        self._progress.fail(StoreClosed("the store was closed"))

    async def follow(self, prefix: str, start_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Yield what `Store.watch` yields."""
        seen = start_revision - 1
        while True:
            await self._progress.reached(seen + 1)
            if seen < self._recent.floor:
                page = await self._read(prefix, seen + 1)
            else:
                page = HistoryPage(self._recent.after(seen), self.revision)
            for batch in page.batches:
                part = _under(prefix, batch)
                if part is not None:
                    yield part
            seen = page.until


def _under(prefix: str, batch: WatchBatch) -> WatchBatch | None:
    events = tuple(event for event in batch.events if event.key.startswith(prefix))
    if len(events) == len(batch.events):
        return batch
    return WatchBatch(batch.revision, events) if events else None


def _weight(batch: WatchBatch) -> int:
    return sum(
        _EVENT + len(event.key) + (len(event.kv.value) if event.kv else 0) for event in batch.events
    )
