"""How long the embedded adapters remember, and what they do with what they forget."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Compacted, Delete, Put, Store, StoreUnavailable
from infrafabric_server.store.sqlite import SqliteStore
from tests.contract.clock import SteppedClock
from tests.contract.worlds import watched


@pytest.fixture(params=["memory", "sqlite"])
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def opened(adapter: str, path: Path, clock: SteppedClock) -> Store:
    if adapter == "memory":
        return await MemoryStore.open(clock=clock, history=600, sleep=clock.sleep)
    return await SqliteStore.open(path, clock=clock, history=600, sleep=clock.sleep)


async def test_history_is_kept_for_ten_minutes_and_a_tenth(adapter: str, tmp_path: Path) -> None:
    clock = SteppedClock()
    store = await opened(adapter, tmp_path, clock)
    for n in range(1, 31):
        await store.txn([], [Put("a", str(n))])
        await clock.advance(60)
        await clock.settle(store)
        # One a minute: what is ten minutes old can be asked for, eleven need not.
        for kept in range(max(1, n - 9), n + 1):
            await watched(store, "", kept, n)
        if n > 11:
            with pytest.raises(Compacted) as refused:
                await watched(store, "", n - 11, n)
            assert refused.value.oldest <= n - 9
    await store.close()


async def test_a_store_with_nothing_to_forget_stays_well(adapter: str, tmp_path: Path) -> None:
    clock = SteppedClock()
    store = await opened(adapter, tmp_path, clock)
    await clock.advance(3600)
    await store.txn([], [Put("a", "1")])
    await store.health()
    assert len(await watched(store, "", 1, 1)) == 1
    await store.close()


async def test_a_job_that_broke_makes_the_store_unwell(adapter: str, tmp_path: Path) -> None:
    async def sleep(seconds: float) -> None:
        raise RuntimeError(f"no sleep for {seconds} seconds")

    clock = SteppedClock()
    store: Store
    if adapter == "memory":
        store = await MemoryStore.open(clock=clock, sleep=sleep)
    else:
        store = await SqliteStore.open(tmp_path, clock=clock, sleep=sleep)
    await store.txn([], [Put("a", "1")])
    with pytest.raises(StoreUnavailable, match="history_retention broke: no sleep"):
        await store.health()
    await store.close()


def rows(path: Path) -> list[tuple[str, bool]]:
    """Return what the log has: each key, and whether it was put or deleted."""
    with closing(sqlite3.connect(path / "fabric.db")) as connection:
        found = connection.execute("SELECT key, value IS NOT NULL FROM log ORDER BY id").fetchall()
    return [(key, bool(put)) for key, put in found]


async def test_compaction_deletes_what_nobody_can_ask_for(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path)
    for _ in range(3):
        await store.txn([], [Put(f"k{n:03}", "") for n in range(600)])
        await store.txn([], [Delete(f"k{n:03}") for n in range(500)])
    assert await store.revision() == 6
    # A deletion at the compacted revision is kept, to be watched.
    await store.compact(6)
    live = [(f"k{n:03}", True) for n in range(500, 600)]
    deleted = [(f"k{n:03}", False) for n in range(500)]
    assert rows(tmp_path) == live + deleted
    await store.txn([], [Put("k550", "")])
    await store.compact(7)
    live.remove(("k550", True))
    assert rows(tmp_path) == [*live, ("k550", True)]
    await store.close()


async def test_a_compaction_cut_short_is_finished_by_the_next(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path)
    await store.txn([], [Put(f"k{n:04}", "") for n in range(3000)])
    await store.txn([], [Delete(f"k{n:04}") for n in range(3000)])
    compaction = asyncio.ensure_future(store.compact(2))
    await asyncio.sleep(0)
    compaction.cancel()
    await asyncio.wait([compaction])
    assert compaction.cancelled()
    await store.close()

    store = await SqliteStore.open(tmp_path)
    await store.txn([], [Put("last", "")])
    await store.compact(3)
    assert rows(tmp_path) == [("last", True)]
    await store.close()


async def test_writes_go_on_while_history_is_deleted(tmp_path: Path) -> None:
    """The writer takes a step of the deletion between two groups, and no more."""
    store = await SqliteStore.open(tmp_path)
    for _ in range(10):
        await store.txn([], [Put(f"k{n:04}", "") for n in range(2000)])
    compaction = asyncio.ensure_future(store.compact(10))
    writes = 0
    while not compaction.done():
        await store.txn([], [Put("a", str(writes))])
        writes += 1
    await compaction
    # 20,000 rows in steps of 256, and at least one write for each.
    assert writes >= 20_000 // 256
    await store.close()
