"""Where a store lives during a test: its data, which outlasts it, and its time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Protocol

from infrafabric_server.store.etcd import EtcdStore
from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.store.protocol import Store, WatchBatch
from infrafabric_server.store.sqlite import SqliteStore
from tests.contract.clock import SteppedClock
from tests.harness.etcd import Etcd


class World(Protocol):
    """One set of data, over which stores are opened one after another.

    `shares_revisions` tells whether transactions that come together may share a revision.
    """

    shares_revisions: bool

    async def open(self) -> Store:
        """Open a store on the data that the last one left."""
        ...

    async def pass_time(self, seconds: float) -> None:
        """Let the time that leases are measured by pass."""
        ...


class MemoryWorld:
    """Data in memory."""

    shares_revisions = False

    def __init__(self) -> None:
        self.clock = SteppedClock()
        self._data = MemoryData()

    async def open(self) -> Store:
        return await MemoryStore.open(self._data, clock=self.clock, sleep=self.clock.sleep)

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)


class SqliteWorld:
    """A data directory."""

    shares_revisions = False

    def __init__(self, path: Path) -> None:
        self.clock = SteppedClock()
        self.path = path

    async def open(self) -> SqliteStore:
        return await SqliteStore.open(self.path, clock=self.clock, sleep=self.clock.sleep)

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)


class EtcdWorld:
    """A prefix on a cluster, which crashes between one store and the next.

    The time that is let pass is that of the store. etcd has its own, by which it ends the
    leases that nobody renews.
    """

    shares_revisions = True

    def __init__(self, etcd: Etcd, prefix: str) -> None:
        self.clock = SteppedClock()
        self._etcd = etcd
        self._prefix = prefix
        self._used = False

    async def open(self) -> EtcdStore:
        if self._used:
            self._etcd.kill()
            self._etcd.start()
        self._used = True
        address = self._etcd.address(self._prefix)
        return await EtcdStore.open(address, clock=self.clock, sleep=self.clock.sleep)

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)


@asynccontextmanager
async def opened(world: World) -> AsyncIterator[Store]:
    """Open a store and close it at the end of the block."""
    store = await world.open()
    try:
        yield store
    finally:
        await store.close()


async def watched(store: Store, prefix: str, start: int, until: int) -> list[WatchBatch]:
    """Return what a watch yields from `start` up to revision `until`, which it must yield."""
    batches: list[WatchBatch] = []
    async with asyncio.timeout(20), aclosing(store.watch(prefix, start)) as watch:
        async for batch in watch:
            batches.append(batch)
            if batch.revision >= until:
                break
    return batches
