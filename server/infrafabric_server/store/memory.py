"""A store in memory, for tests and trials: the port's semantics without a disk."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from itertools import islice, takewhile
from typing import Self

from infrafabric_server.clock import Clock, SystemClock
from infrafabric_server.store.background import Background
from infrafabric_server.store.checks import (
    check_key,
    check_range,
    check_revision,
    check_ttl,
    check_watch,
)
from infrafabric_server.store.leases import LeaseTimer
from infrafabric_server.store.protocol import (
    Compacted,
    KeyValue,
    RangeResult,
    StoreClosed,
    WatchBatch,
)
from infrafabric_server.store.retention import Retention
from infrafabric_server.store.sorted_keys import SortedKeys
from infrafabric_server.store.transacting import AnswerT, Transacting
from infrafabric_server.store.transactions import Request, Table, Txn
from infrafabric_server.store.watching import HistoryPage, Watches


class MemoryData:
    """What survives closing a MemoryStore, as a disk would: give it to the next one."""

    def __init__(self) -> None:
        self.table = Table(0, (), set())
        self.ttls: dict[int, float] = {}
        self.last_lease = 0
        self.compacted = 1
        self.changes: dict[int, WatchBatch] = {}
        self.keys = SortedKeys()
        self._versions: dict[str, list[tuple[int, KeyValue | None]]] = {}

    def keep(self, batch: WatchBatch) -> None:
        """Add a change to the history."""
        self.changes[batch.revision] = batch
        for event in batch.events:
            if event.key not in self._versions:
                self._versions[event.key] = []
                self.keys.add(event.key)
            self._versions[event.key].append((batch.revision, event.kv))

    def at(self, key: str, revision: int) -> KeyValue | None:
        """Return `key` as it was at `revision`."""
        versions = self._versions[key]
        index = bisect_right(versions, revision, key=_revision) - 1
        return versions[index][1] if index >= 0 else None

    def forget(self, revision: int) -> None:
        """Drop the history before `revision`."""
        for old in range(self.compacted, revision):
            self.changes.pop(old, None)
        self.compacted = revision
        for key, versions in list(self._versions.items()):
            del versions[: max(0, bisect_right(versions, revision, key=_revision) - 1)]
            if len(versions) == 1 and versions[0][1] is None and versions[0][0] < revision:
                del self._versions[key]
                self.keys.remove(key)


class MemoryStore(Transacting):
    """A Store that forgets everything with its process; made by `open`."""

    def __init__(
        self,
        data: MemoryData,
        clock: Clock,
        history: float,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._data = data
        self._closed = False
        self._watches = Watches(data.table.revision, self._read_history)
        self._leases = LeaseTimer(clock, self._expire, sleep)
        self._leases.add_all(data.ttls)
        self._background = Background()
        self._retention = Retention(
            clock, history, lambda: data.table.revision, self.compact, sleep
        )

    @classmethod
    async def open(
        cls,
        data: MemoryData | None = None,
        *,
        clock: Clock | None = None,
        history: float = 600.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> Self:
        """Return a running store.

        Args:
            data: what an earlier store left; every lease gets its whole time again.
            clock: measures leases and the age of history; the machine's by default.
            history: seconds for which watches and pinned ranges can look back.
            sleep: waits for a number of seconds of `clock`.
        """
        store = cls(data or MemoryData(), clock or SystemClock(), history, sleep)
        store._background.start("lease_timer", store._leases.run)
        store._background.start("history_retention", store._retention.run)
        return store

    async def get(self, key: str) -> KeyValue | None:
        """Return `key` as it is now, or None."""
        check_key(key)
        await self._turn()
        return self._data.table.entries.get(key)

    async def range(
        self, prefix: str, *, limit: int = 1000, after: str = "", revision: int = 0
    ) -> RangeResult:
        """Return a page of keys, as `Store.range` says."""
        check_range(prefix, after, limit)
        await self._turn()
        data = self._data
        check_revision(revision, data.table.revision)
        if 0 < revision < data.compacted:
            raise Compacted(data.compacted)
        at = revision or data.table.revision
        found = list(islice(self._found(prefix, after, at), limit + 1))
        return RangeResult(tuple(found[:limit]), at, more=len(found) > limit)

    def watch(self, prefix: str, start_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Yield later changes, as `Store.watch` says."""
        check_watch(prefix, start_revision)
        return self._watches.follow(prefix, start_revision)

    async def grant(self, ttl: float) -> int:
        """Create a lease of `ttl` seconds and return its id."""
        check_ttl(ttl)
        await self._turn()
        self._data.last_lease += 1
        lease = self._data.last_lease
        self._data.table.leases.add(lease)
        self._data.ttls[lease] = ttl
        self._leases.add(lease, ttl)
        return lease

    async def keepalive(self, lease: int) -> None:
        """Give the lease its whole time again. Raises LeaseNotFound."""
        await self._turn()
        self._leases.renew(lease)

    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys in one change."""
        await self._turn()
        self._leases.remove(lease)
        self._data.ttls.pop(lease, None)
        self._keep(self._data.table.revoke(lease))

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`."""
        await self._turn()
        check_revision(revision, self._data.table.revision)
        if revision > self._data.compacted:
            self._data.forget(revision)
            self._watches.compacted(revision)

    async def revision(self) -> int:
        """Return the newest revision."""
        await self._turn()
        return self._data.table.revision

    async def reachable(self, revision: int) -> int:
        """Return `revision`: watches come to each."""
        return revision

    async def health(self) -> None:
        """Raise StoreError if the store cannot take a write."""
        await self._turn()
        self._background.check()

    async def close(self) -> None:
        """End all watches and release everything. Safe to repeat."""
        self._closed = True
        self._watches.close()
        await self._background.stop()

    async def _transact(self, request: Request, answer: type[AnswerT]) -> AnswerT:
        await self._turn()
        table = self._data.table
        outcome = table.run(request) if isinstance(request, Txn) else table.fold(request)
        self._keep(outcome.batch)
        assert isinstance(outcome.result, answer), f"{request} was answered by {outcome.result}"
        return outcome.result

    async def _turn(self) -> None:
        # Others run in between, as they would while a disk works.
        await asyncio.sleep(0)
        if self._closed:
            raise StoreClosed("the store was closed")

    def _keep(self, batch: WatchBatch | None) -> None:
        if batch is not None:
            self._data.keep(batch)
            self._watches.publish([batch])

    def _found(self, prefix: str, after: str, revision: int) -> Iterator[KeyValue]:
        keys = self._data.keys
        later = keys.after(after) if after >= prefix else keys.since(prefix)
        for key in takewhile(lambda key: key.startswith(prefix), later):
            entry = self._data.at(key, revision)
            if entry is not None:
                yield entry

    async def _read_history(self, _prefix: str, start: int) -> HistoryPage:
        await self._turn()
        if start < self._data.compacted:
            raise Compacted(self._data.compacted)
        until = self._data.table.revision
        return HistoryPage([self._data.changes[r] for r in range(start, until + 1)], until)

    async def _expire(self, leases: Sequence[int]) -> None:
        for lease in leases:
            await self.revoke(lease)


def _revision(version: tuple[int, KeyValue | None]) -> int:
    return version[0]
