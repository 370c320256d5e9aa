import asyncio
from contextlib import aclosing

import pytest

from infrafabric_server.store.protocol import (
    Compacted,
    Delete,
    Event,
    KeyValue,
    Put,
    Store,
    StoreClosed,
    WatchBatch,
)
from tests.contract.worlds import World, opened, watched

# More than the adapters hold in memory for watches, in sixteen changes.
_LARGE = "x" * 1024 * 1024


async def test_a_watch_sees_changes_as_they_happen(store: Store) -> None:
    async with aclosing(store.watch("a/", 1)) as watch:
        waiting = asyncio.ensure_future(anext(watch))
        await store.txn([], [Put("b/1", "not ours")])
        lease = await store.grant(10)
        await store.txn([], [Put("a/1", "x", lease), Put("b/1", "y")])
        async with asyncio.timeout(10):
            batch = await waiting
    kv = KeyValue("a/1", "x", create_revision=2, mod_revision=2, version=1, lease=lease)
    assert batch == WatchBatch(2, (Event("a/1", kv),))


async def test_every_revision_is_replayed_after_a_restart(world: World) -> None:
    async with opened(world) as store:
        lease = await store.grant(60)
        await store.txn([], [Put("a", "1"), Put("b", "1", lease)])
        await store.txn([], [Delete("a"), Put("c", "1")])
        await store.txn([], [Put("a", "2")])
        live = await watched(store, "", 1, 3)
    async with opened(world) as store:
        assert await watched(store, "", 1, 3) == live
        await store.txn([], [Put("later", "1")])
        assert [batch.revision for batch in await watched(store, "", 1, 4)] == [1, 2, 3, 4]


async def test_a_watch_resumes_in_the_middle(world: World) -> None:
    async with opened(world) as store:
        for index in range(20):
            await store.txn([], [Put(f"k{index % 3}", str(index))])
    async with opened(world) as store:
        for index in range(20, 30):
            await store.txn([], [Put(f"k{index % 3}", str(index))])
        for start in range(1, 31):
            batches = await watched(store, "", start, 30)
            assert [batch.revision for batch in batches] == list(range(start, 31))


async def test_a_watch_may_start_in_the_future(store: Store) -> None:
    async with aclosing(store.watch("", 3)) as watch:
        waiting = asyncio.ensure_future(anext(watch))
        for index in range(3):
            await store.txn([], [Put("a", str(index))])
        async with asyncio.timeout(10):
            assert (await waiting).revision == 3


async def test_a_watch_of_a_prefix_skips_what_is_not_its_own(world: World) -> None:
    async with opened(world) as store:
        for index in range(10):
            await store.txn([], [Put(f"{'ab'[index % 2]}/{index}", "")])
        await store.txn([], [Put("a/last", ""), Put("b/last", "")])
        live = await watched(store, "b/", 2, 11)
    async with opened(world) as store:
        replayed = await watched(store, "b/", 2, 11)
    assert [batch.revision for batch in replayed] == [2, 4, 6, 8, 10, 11]
    assert [event.key for event in replayed[-1].events] == ["b/last"]
    assert live == replayed


async def test_a_slow_consumer_loses_nothing(store: Store) -> None:
    async with aclosing(store.watch("", 1)) as watch:
        await store.txn([], [Put("first", "")])
        seen = [(await anext(watch)).revision]
        # Long past what is held in memory for it.
        for index in range(40):
            await store.txn([], [Put("large", _LARGE), Put(f"k{index}", "")])
        async with asyncio.timeout(20):
            while seen[-1] < 41:
                seen.append((await anext(watch)).revision)
    assert seen == list(range(1, 42))


async def test_a_cancelled_consumer_can_come_back(store: Store) -> None:
    await store.txn([], [Put("a", "1")])

    first = asyncio.Event()

    async def consume() -> None:
        async for batch in store.watch("", 1):
            assert batch.revision == 1
            first.set()

    consumer = asyncio.create_task(consume())
    await first.wait()
    consumer.cancel()
    await asyncio.wait([consumer])
    assert consumer.cancelled()
    await store.txn([], [Put("a", "2")])
    assert [batch.revision for batch in await watched(store, "", 2, 2)] == [2]


async def test_a_watch_of_what_was_compacted_is_refused(store: Store) -> None:
    for index in range(5):
        await store.txn([], [Put("a", str(index))])
    await store.txn([], [Delete("a")])
    await store.compact(4)
    with pytest.raises(Compacted) as refused:
        await anext(store.watch("", 3))
    assert refused.value.oldest == 4
    batches = await watched(store, "", 4, 6)
    assert [batch.revision for batch in batches] == [4, 5, 6]


async def test_a_deletion_at_the_compacted_revision_is_still_told(world: World) -> None:
    async with opened(world) as store:
        await store.txn([], [Put("a", "1"), Put("b", "1")])
        await store.txn([], [Delete("a")])
        await store.compact(2)
    async with opened(world) as store:
        assert await watched(store, "", 2, 2) == [WatchBatch(2, (Event("a", None),))]
        with pytest.raises(Compacted):
            await anext(store.watch("", 1))


async def test_compaction_does_not_hurt_a_watch_that_keeps_up(store: Store) -> None:
    async with aclosing(store.watch("", 1)) as watch:
        for index in range(10):
            await store.txn([], [Put("a", str(index))])
            async with asyncio.timeout(10):
                assert (await anext(watch)).revision == index + 1
            await store.compact(index + 1)


async def test_compaction_under_a_slow_watch_is_told_and_leaves_no_hole(store: Store) -> None:
    await store.txn([], [Put("a", "0")])
    seen: list[int] = []

    async def consume() -> None:
        async for batch in store.watch("", 1):
            seen.append(batch.revision)
            if batch.revision == 1:
                for index in range(40):
                    await store.txn([], [Put("a", f"{index}{_LARGE}")])
                await store.compact(41)

    with pytest.raises(Compacted) as refused:
        await asyncio.wait_for(consume(), 20)
    assert refused.value.oldest == 41
    assert seen == list(range(1, seen[-1] + 1))


async def test_concurrent_writers_and_watchers_agree(world: World, store: Store) -> None:
    """N10: watchers see every change once and in order."""

    async def write(writer: int) -> None:
        for index in range(25):
            value = str(index)
            await store.txn([], [Put(f"{writer}/{index}", value), Put(f"{writer}/last", value)])

    async def watch(prefix: str) -> list[WatchBatch]:
        batches: list[WatchBatch] = []
        async with asyncio.timeout(20), aclosing(store.watch(prefix, 1)) as watched:
            async for batch in watched:
                batches.append(batch)
                if batch.events[-1].key.endswith("/end"):
                    return batches
        raise AssertionError("the watch ended by itself")

    async with asyncio.TaskGroup() as group:
        watches = [group.create_task(watch("")) for _ in range(3)]
        part = group.create_task(watch("3/"))
        async with asyncio.TaskGroup() as writers:
            for writer in range(8):
                writers.create_task(write(writer))
        await store.txn([], [Put("3/end", "")])
    batches = watches[0].result()
    assert all(watch.result() == batches for watch in watches)
    assert [batch.revision for batch in batches] == list(range(1, len(batches) + 1))
    assert len(batches) == 201 or world.shares_revisions
    assert sum(len(batch.events) for batch in batches) == 401
    for writer in range(8):
        told = [
            [(event.key, event.kv.value) for event in batch.events if event.kv is not None]
            for batch in batches[:-1]
        ]
        own = [mine for each in told if (mine := [e for e in each if e[0][:2] == f"{writer}/"])]
        assert own == [
            [(f"{writer}/{index}", str(index)), (f"{writer}/last", str(index))]
            for index in range(25)
        ]
    thirds = [
        WatchBatch(batch.revision, tuple(e for e in batch.events if e.key.startswith("3/")))
        for batch in batches
    ]
    assert part.result() == [batch for batch in thirds if batch.events]


async def test_closing_the_store_ends_watches(world: World) -> None:
    store = await world.open()
    waiting = asyncio.ensure_future(anext(store.watch("", 1)))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreClosed):
        await waiting
    with pytest.raises(StoreClosed):
        await anext(store.watch("", 1))


async def test_a_watch_from_before_the_first_revision_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="revision 1"):
        store.watch("", 0)
