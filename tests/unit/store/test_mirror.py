import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Change, Mirror, View
from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Op,
    Put,
    RangeResult,
    StoreClosed,
    StoreDenied,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    TxnResult,
    absent,
    present,
    unchanged,
)
from tests.unit.store.kit import HeldStore, Item, running


@pytest.fixture
async def store() -> AsyncIterator[HeldStore]:
    store = await HeldStore.open()
    yield store
    await store.close()


@pytest.fixture
def mirror(store: HeldStore) -> Mirror:
    return Mirror(store)


@pytest.fixture
def items(mirror: Mirror) -> View[Item]:
    return mirror.view("items/", Item)


def heard(view: View[Item]) -> list[Change[Item]]:
    changes: list[Change[Item]] = []
    view.subscribe(changes.append)
    return changes


async def test_what_is_there_is_loaded_and_told(
    store: HeldStore, mirror: Mirror, items: View[Item]
) -> None:
    await store.txn([], [Put(f"items/{n:04}", Item(n=n).model_dump_json()) for n in range(2500)])
    await store.txn([], [Put("items/0001", '{"n":-1}'), Put("other/1", "not an item")])
    changes = heard(items)
    await mirror.start()
    assert len(items) == len(changes) == 2500
    assert (mirror.revision, list(items)[:2]) == (2, ["0000", "0001"])
    entry = items.entry("0001")
    assert entry is not None
    assert (entry.value.n, entry.mod_revision, entry.create_revision) == (-1, 2, 1)
    assert [each.id for each in items.page("0010", 2)] == ["0011", "0012"]


async def test_own_commits_show_at_once(
    store: HeldStore, mirror: Mirror, items: View[Item]
) -> None:
    other = mirror.view("others/", Item)
    async with running(mirror):
        changes = heard(items)
        result = await mirror.commit(
            [absent("items/a")], [items.put("a", Item(n=1)), other.put("b", Item(n=2))]
        )
        assert (items.get("a"), other.get("b")) == (Item(n=1), Item(n=2))
        assert changes == [Change("a", None, Item(n=1), result.revision)]
        entry = items.entry("a")
        assert entry is not None
        assert (entry.key, entry.mod_revision) == ("items/a", result.revision)
        assert mirror.revision == 0
        # The model that was put is the one that is there: nothing was decoded.
        model = Item(n=3)
        await mirror.commit([], [items.put("a", model)])
        assert items.get("a") is model
        store.release(2)
        await mirror.caught_up(2)
        assert items.get("a") is model
        assert len(changes) == 2


async def test_the_list_that_was_chosen_shows(mirror: Mirror, items: View[Item]) -> None:
    async with running(mirror):
        result = await mirror.commit(
            [present("items/a")], [items.put("a", Item(n=1))], [items.put("a", Item(n=2))]
        )
        assert not result.succeeded
        assert items.get("a") == Item(n=2)


async def test_views_never_go_back(store: HeldStore, mirror: Mirror, items: View[Item]) -> None:
    async with running(mirror):
        changes = heard(items)
        await store.txn([], [Put("items/a", '{"n":1}'), Put("items/b", '{"n":1}')])
        await store.txn([], [Put("items/a", '{"n":2}'), Put("items/c", '{"n":2}')])
        await mirror.commit([], [items.put("a", Item(n=3)), items.delete("b")])
        store.release(2)
        await mirror.caught_up(2)
        assert [(c.id, c.new.n if c.new else None, c.revision) for c in changes] == [
            ("a", 3, 3),
            ("c", 2, 2),
        ]
        assert items.get("b") is None
        store.release(3)
        await mirror.caught_up(3)
        assert len(changes) == 2
        entry = items.entry("a")
        assert entry is not None
        # When the key was created is known for sure only from the watch.
        assert entry.create_revision == 1
        await store.txn([], [Put("items/b", '{"n":4}')])
        store.release(4)
        await mirror.caught_up(4)
        assert items.get("b") == Item(n=4)


async def test_own_commits_may_be_answered_in_any_order(
    store: HeldStore, mirror: Mirror, items: View[Item]
) -> None:
    async with running(mirror):
        await asyncio.gather(*(mirror.commit([], [items.put("a", Item(n=n))]) for n in range(50)))
        last = await store.get("items/a")
        assert last is not None
        assert items.get("a") == Item.model_validate_json(last.value)
        store.release(50)
        await mirror.caught_up(50)
        assert items.get("a") == Item.model_validate_json(last.value)


class LateAnswers(HeldStore):
    """A store that keeps the answer to a put of 1 to itself until it is told."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.begun = asyncio.Event()
        self.late = asyncio.Event()

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        result = await super().txn(compares, success, failure)
        if any(isinstance(op, Put) and '"n":1' in op.value for op in success):
            self.begun.set()
            await self.late.wait()
        return result


@pytest.fixture
async def late_store() -> AsyncIterator[LateAnswers]:
    store = await LateAnswers.open()
    yield store
    await store.close()


async def begun(store: LateAnswers, mirror: Mirror, items: View[Item]) -> asyncio.Task[TxnResult]:
    """Begin a commit that is applied and not answered yet."""
    first = asyncio.create_task(mirror.commit([], [items.put("a", Item(n=1))]))
    await store.begun.wait()
    return first


async def test_an_answer_that_comes_after_that_of_a_later_commit_takes_nothing_back(
    late_store: LateAnswers,
) -> None:
    mirror = Mirror(late_store)
    items = mirror.view("items/", Item)
    async with running(mirror):
        changes = heard(items)
        first = await begun(late_store, mirror, items)
        await mirror.commit([], [items.put("a", Item(n=2))])
        late_store.late.set()
        await first
        assert items.get("a") == Item(n=2)
        assert [change.new for change in changes] == [Item(n=2)]


async def test_an_answer_that_comes_after_the_watch_takes_nothing_back(
    late_store: LateAnswers,
) -> None:
    mirror = Mirror(late_store)
    items = mirror.view("items/", Item)
    async with running(mirror):
        changes = heard(items)
        first = await begun(late_store, mirror, items)
        await late_store.txn([], [Put("items/a", '{"n":2}')])
        late_store.release(2)
        await mirror.caught_up(2)
        late_store.late.set()
        await first
        assert items.get("a") == Item(n=2)
        assert [change.new for change in changes] == [Item(n=1), Item(n=2)]


async def test_a_refused_commit_shows_nothing_until_the_watch_does(
    store: HeldStore, mirror: Mirror, items: View[Item]
) -> None:
    async with running(mirror):
        await store.txn([], [Put("items/a", '{"n":1}')])
        result = await mirror.commit([unchanged("items/a", 0)], [items.put("a", Item(n=2))])
        assert not result.succeeded
        assert items.get("a") is None
        store.release(1)
        await mirror.caught_up(result.revision)
        assert items.get("a") == Item(n=1)


async def test_all_changes_of_a_revision_are_there_before_anyone_hears_of_one(
    store: HeldStore, mirror: Mirror, items: View[Item]
) -> None:
    others = mirror.view("others/", Item)
    seen: list[tuple[Item | None, Item | None]] = []
    items.subscribe(lambda _: seen.append((items.get("a"), others.get("b"))))
    others.subscribe(lambda _: seen.append((items.get("a"), others.get("b"))))
    async with running(mirror):
        await mirror.commit([], [items.put("a", Item(n=1)), others.put("b", Item(n=1))])
        await store.txn([], [Put("others/b", '{"n":2}'), Delete("items/a")])
        store.release(2)
        await mirror.caught_up(2)
    assert seen == [(Item(n=1), Item(n=1))] * 2 + [(None, Item(n=2))] * 2


async def test_what_a_lease_takes_with_it_is_seen(
    store: HeldStore, mirror: Mirror, items: View[Item]
) -> None:
    async with running(mirror):
        lease = await store.grant(60)
        await mirror.commit([], [items.put("a", Item(n=1), lease)])
        kv = await store.get("items/a")
        assert kv is not None
        assert kv.lease == lease
        changes = heard(items)
        await store.revoke(lease)
        store.release(2)
        await mirror.caught_up(2)
        assert changes == [Change("a", Item(n=1), None, 2)]


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


async def test_an_unsubscribed_listener_hears_nothing(mirror: Mirror, items: View[Item]) -> None:
    changes: list[Change[Item]] = []
    unsubscribe = items.subscribe(changes.append)
    unsubscribe()
    unsubscribe()
    async with running(mirror):
        await mirror.commit([], [items.put("a", Item(n=1))])
    assert changes == []


@pytest.mark.parametrize("prefix", ["", "items", "/", "items/x/", "taken/"])
def test_a_prefix_is_one_group_of_keys(prefix: str, mirror: Mirror) -> None:
    mirror.view("taken/", Item)
    with pytest.raises(ValueError, match="group of keys"):
        mirror.view(prefix, Item)


async def test_counters_have_all_of_a_revision_before_anybody_hears_of_it(
    store: HeldStore, mirror: Mirror, items: View[Item]
) -> None:
    sums = {"items": 0, "others": 0}
    other = mirror.view("others/", Item)

    def count(name: str, old: Item | None, new: Item | None) -> None:
        sums[name] += (new.n if new else 0) - (old.n if old else 0)

    items.count(lambda old, new: count("items", old, new))
    other.count(lambda old, new: count("others", old, new))
    heard: list[tuple[int, int]] = []
    for view in (items, other):
        view.subscribe(lambda _change: heard.append((sums["items"], sums["others"])))
    async with running(mirror):
        await mirror.commit([], [items.put("a", Item(n=3))])
        await mirror.commit([], [items.delete("a"), other.put("a", Item(n=3))])
        result = await store.txn([], [items.put("a", Item(n=3)), other.delete("a")])
        store.release(result.revision)
        await mirror.caught_up(result.revision)
    assert heard == [(3, 0), (0, 3), (0, 3), (3, 0), (3, 0)]
