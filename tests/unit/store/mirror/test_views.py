"""What views show, and in which order their listeners hear of it."""

import pytest

from infrafabric_server.store.mirror import Change, Mirror, View
from infrafabric_server.store.protocol import (
    Delete,
    Put,
)
from tests.unit.store.kit import HeldStore, Item, heard, running


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
