"""What a mirror shows of its own commits, and of those of others meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from infrafabric_server.store.mirror import Change, Mirror, View
from infrafabric_server.store.protocol import (
    Compare,
    Op,
    Put,
    TxnResult,
    absent,
    present,
    unchanged,
)
from tests.unit.store.kit import HeldStore, Item, heard, running


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
