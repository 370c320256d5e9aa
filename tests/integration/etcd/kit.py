"""What the tests of the store on etcd share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from infrafabric_server.store.etcd import Access, EtcdAddress, EtcdOptions, EtcdStore, Observer
from infrafabric_server.store.etcd.observer import NoObserver
from infrafabric_server.store.protocol import Put, Store, WatchBatch, unchanged

# Short attempts, as members are stopped and cut off all the time here.
HASTY = EtcdOptions(attempt=0.5, patience=20.0)


class Counts(NoObserver):
    """Counts what the store tells."""

    def __init__(self) -> None:
        self.applied = 0
        self.dropped = 0
        self.widest = 0
        self.postponed = 0
        self.conflicts = 0
        self.longest = 0.0
        self.slack = float("inf")

    def batch(self, members: int, postponed: int, conflicts: int, seconds: float) -> None:
        self.widest = max(self.widest, members)
        self.postponed += postponed
        self.conflicts += conflicts
        self.longest = max(self.longest, seconds)

    def uncertain(self, seconds: float, *, applied: bool) -> None:
        self.longest = max(self.longest, seconds)
        if applied:
            self.applied += 1
        else:
            self.dropped += 1

    def lease_slack(self, seconds: float) -> None:
        self.slack = min(self.slack, seconds)


@asynccontextmanager
async def opened(
    address: EtcdAddress,
    access: Access | None = None,
    options: EtcdOptions = HASTY,
    observer: Observer | None = None,
) -> AsyncIterator[EtcdStore]:
    """Open a store and close it at the end of the block."""
    store = await EtcdStore.open(address, access, options=options, observer=observer)
    try:
        yield store
    finally:
        await store.close()


def through(address: EtcdAddress, proxy: str) -> EtcdAddress:
    """Return the address of the same fabric behind a proxy."""
    return replace(address, endpoints=(proxy,))


async def count_up(store: Store, key: str, times: int) -> None:
    """Set `key` to 1, 2, ... `times`; each step must be answered as the next one."""
    revision = 0
    for number in range(1, times + 1):
        result = await store.txn([unchanged(key, revision)], [Put(key, str(number))])
        assert result.succeeded, f"step {number} of {key} was applied already, or never"
        revision = result.revision


async def followed(store: Store, prefix: str, start: int, end: str) -> list[WatchBatch]:
    """Return what a watch tells until the key `end` changes."""
    batches: list[WatchBatch] = []
    async with asyncio.timeout(40), aclosing(store.watch(prefix, start)) as watch:
        async for batch in watch:
            batches.append(batch)
            if any(event.key == end for event in batch.events):
                break
    return batches


def check_counted(batches: list[WatchBatch], key: str, times: int) -> None:
    """Assert that the watch told every step of `count_up`, each once and in order."""
    told = [
        event.kv.value
        for batch in batches
        for event in batch.events
        if event.key == key and event.kv is not None
    ]
    assert told == [str(number) for number in range(1, times + 1)]
    revisions = [batch.revision for batch in batches]
    assert revisions == sorted(set(revisions))
