import asyncio
from collections.abc import Awaitable

import pytest

from infrafabric_server.store.protocol import Put, Store, StoreClosed, absent, unchanged
from tests.contract.worlds import World, opened, watched


async def test_c1_of_64_claimants_exactly_one_wins_each_round(store: Store) -> None:
    """C1: one winner, whatever the number of claimants."""
    revision = 0
    for round_ in range(20):
        results = await asyncio.gather(
            *(store.txn([unchanged("task", revision)], [Put("task", f"{n}")]) for n in range(64))
        )
        winners = [n for n, result in enumerate(results) if result.succeeded]
        assert len(winners) == 1
        kv = await store.get("task")
        assert kv is not None
        assert (kv.value, kv.version) == (str(winners[0]), round_ + 1)
        assert all(result.revision == kv.mod_revision for result in results)
        revision = kv.mod_revision


async def test_each_of_many_transactions_knows_its_revision(world: World, store: Store) -> None:
    """Those on different keys may share one where the adapter says so; none is left out."""
    results = await asyncio.gather(
        *(store.txn([absent(f"k{n}")], [Put(f"k{n}", "")]) for n in range(100))
    )
    revisions = sorted({result.revision for result in results})
    assert revisions == list(range(1, len(revisions) + 1))
    assert len(revisions) == 100 or world.shares_revisions
    for n, result in enumerate(results):
        kv = await store.get(f"k{n}")
        assert kv is not None
        assert kv.mod_revision == kv.create_revision == result.revision
    told = {
        event.key: batch.revision
        for batch in await watched(store, "", 1, revisions[-1])
        for event in batch.events
    }
    assert told == {f"k{n}": result.revision for n, result in enumerate(results)}


async def test_a_refused_transaction_does_not_touch_its_neighbours(store: Store) -> None:
    lease = await store.grant(60)
    await store.revoke(lease)
    results = await asyncio.gather(
        *(store.txn([], [Put(f"k{n}", "", lease if n % 2 else 0)]) for n in range(20)),
        return_exceptions=True,
    )
    assert [isinstance(result, Exception) for result in results] == [n % 2 == 1 for n in range(20)]
    assert [kv.key for kv in (await store.range("")).kvs] == sorted(
        f"k{n}" for n in range(0, 20, 2)
    )


async def test_cancelled_callers_harm_nobody(store: Store) -> None:
    """A cancelled transaction is applied whole or not at all; all others are untouched."""
    tasks = [
        asyncio.ensure_future(store.txn([], [Put(f"{n}/a", ""), Put(f"{n}/b", "")]))
        for n in range(200)
    ]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks[::3])
    last = await store.txn([], [Put("last", "")])
    keys = {kv.key for kv in (await store.range("", limit=1000)).kvs}
    for n, task in enumerate(tasks):
        present = {f"{n}/a", f"{n}/b"} & keys
        assert len(present) in ((0, 2) if task.cancelled() else (2,))
    batches = await watched(store, "", 1, last.revision)
    assert [batch.revision for batch in batches] == list(range(1, last.revision + 1))


async def test_closing_finishes_what_was_accepted(world: World) -> None:
    store = await world.open()
    writes = [asyncio.ensure_future(store.txn([], [Put(f"k{n}", "")])) for n in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    results = await asyncio.gather(*writes, return_exceptions=True)
    async with opened(world) as again:
        there = {kv.key for kv in (await again.range("")).kvs}
    for n, result in enumerate(results):
        assert isinstance(result, StoreClosed) is (f"k{n}" not in there)


async def test_a_store_may_be_closed_before_it_did_anything(world: World) -> None:
    for _ in range(2):
        store = await world.open()
        await store.close()


async def test_a_closed_store_says_so(world: World) -> None:
    store = await world.open()
    lease = await store.grant(10)
    await store.close()
    await store.close()
    calls: list[Awaitable[object]] = [
        store.get("a"),
        store.range(""),
        store.txn([], [Put("a", "")]),
        store.fold([], [Put("a", "")], []),
        store.grant(10),
        store.keepalive(lease),
        store.revoke(lease),
        store.compact(0),
        store.revision(),
        store.health(),
    ]
    for call in calls:
        with pytest.raises(StoreClosed):
            await call


async def test_a_store_that_works_is_healthy(store: Store) -> None:
    await store.txn([], [Put("a", "1")])
    await store.health()
    assert await store.revision() == 1
