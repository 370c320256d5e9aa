"""What a mirror does when history, the store, a value or a listener fails it."""

import asyncio
from typing import Any

import pytest

from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Change, Mirror, View
from infrafabric_server.store.protocol import (
    Delete,
    Put,
    RangeResult,
    StoreClosed,
    StoreDenied,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from tests.unit.store.kit import HeldStore, Item, heard, running


async def test_a_mirror_that_history_has_left_behind_loads_the_differences(
    store: HeldStore, mirror: Mirror, items: View[Item]
) -> None:
    async with running(mirror):
        await mirror.commit([], [items.put(name, Item(n=0)) for name in "abc"])
        store.release(1)
        await mirror.caught_up(1)
        changes = heard(items)
        # The watch waits with the next revision in its hand while more is forgotten.
        await store.txn([], [Put("items/a", '{"n":1}')])
        await store.txn([], [Put("items/a", '{"n":2}'), Delete("items/b")])
        await store.txn([], [Put("items/d", '{"n":3}')])
        await store.compact(4)
        await mirror.commit([], [items.put("e", Item(n=4))])
        store.release(5)
        await mirror.caught_up(5)
        assert sorted(items.items()) == [
            ("a", Item(n=2)),
            ("c", Item(n=0)),
            ("d", Item(n=3)),
            ("e", Item(n=4)),
        ]
        told = [(change.id, change.new.n if change.new else None) for change in changes]
        assert sorted(told) == sorted(set(told))
        assert {("a", 2), ("b", None), ("d", 3), ("e", 4)} <= set(told)


class Refusing(HeldStore):
    """A store that answers some ranges with errors, each once."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.errors: list[StoreError] = []

    async def range(self, prefix: str, **options: Any) -> RangeResult:
        if self.errors:
            raise self.errors.pop()
        return await super().range(prefix, **options)


async def test_views_are_loaded_again_once_the_store_answers() -> None:
    store = await Refusing.open()
    mirror = Mirror(store, retry_seconds=0)
    items = mirror.view("items/", Item)
    async with running(mirror):
        await mirror.commit([], [items.put("a", Item(n=0))])
        store.release(1)
        await mirror.caught_up(1)
        # The watch waits with the next revision in its hand while more is forgotten.
        for n in (1, 2, 3):
            await store.txn([], [Put("items/a", Item(n=n).model_dump_json())])
        await store.compact(4)
        store.errors = [StoreUnavailable("no answer"), StoreDenied("no more")]
        store.release(4)
        await mirror.caught_up(4)
        assert items.get("a") == Item(n=3)
        assert not store.errors
    store.errors = [StoreUnavailable("no answer")]
    unstarted = Mirror(store)
    unstarted.view("items/", Item)
    with pytest.raises(StoreUnavailable):
        await unstarted.start()
    await store.close()


async def test_an_error_in_a_listener_ends_the_mirror_and_not_the_commit(
    mirror: Mirror, items: View[Item]
) -> None:
    def fail(change: Change[Item]) -> None:
        raise RuntimeError(change.id)

    await mirror.start()
    items.subscribe(fail)
    running_mirror = asyncio.ensure_future(mirror.run())
    result = await mirror.commit([], [items.put("a", Item(n=1))])
    assert result.succeeded
    assert items.get("a") == Item(n=1)
    with pytest.raises(RuntimeError, match="a"):
        await running_mirror
    with pytest.raises(RuntimeError, match="a"):
        await mirror.caught_up(10)


async def test_a_value_that_is_none_of_the_model_is_refused_by_its_key(
    store: HeldStore, mirror: Mirror, items: View[Item]
) -> None:
    await store.txn([], [Put("items/a", '{"n":"many"}')])
    with pytest.raises(StoreRefused, match="items/a is no valid Item"):
        await mirror.start()
    await store.txn([], [Delete("items/a")])
    await mirror.start()
    await store.txn([], [Put("items/b", "null")])
    store.release(3)
    with pytest.raises(StoreRefused, match="items/b"):
        await mirror.run()
    assert len(items) == 0


async def test_a_store_that_ends_first_is_told() -> None:
    store = await MemoryStore.open()
    mirror = Mirror(store)
    await mirror.start()
    following = asyncio.ensure_future(mirror.run())
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreClosed):
        await following


async def test_closing_frees_who_waits(mirror: Mirror) -> None:
    async with running(mirror):
        waiting = asyncio.ensure_future(mirror.caught_up(1))
        await asyncio.sleep(0)
    with pytest.raises(StoreClosed):
        await waiting
    await mirror.close()
