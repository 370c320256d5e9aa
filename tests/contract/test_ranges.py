import pytest

from infrafabric_server.store.protocol import Compacted, Delete, KeyValue, Put, Store


async def walk(store: Store, prefix: str, limit: int) -> list[KeyValue]:
    found: list[KeyValue] = []
    page = await store.range(prefix, limit=limit)
    found.extend(page.kvs)
    while page.more:
        page = await store.range(
            prefix, limit=limit, after=page.kvs[-1].key, revision=page.revision
        )
        found.extend(page.kvs)
    return found


async def test_a_range_is_ordered_and_keeps_to_its_prefix(store: Store) -> None:
    keys = ["a", "a/", "a/2", "a/10", "a/ä", "a/\U0010ffff", "a0", "b"]
    await store.txn([], [Put(key, key) for key in keys])
    page = await store.range("a/")
    assert [kv.key for kv in page.kvs] == ["a/", "a/10", "a/2", "a/ä", "a/\U0010ffff"]
    assert (page.more, page.revision) == (False, 1)
    assert [kv.key for kv in (await store.range("")).kvs] == sorted(keys)
    assert [kv.key for kv in (await store.range("a/\U0010ffff")).kvs] == ["a/\U0010ffff"]
    assert [kv.key for kv in (await store.range("a/2")).kvs] == ["a/2"]


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
async def test_pages_join_into_the_whole(store: Store, limit: int) -> None:
    await store.txn([], [Put(f"k/{index}", "") for index in range(7)])
    assert [kv.key for kv in await walk(store, "k/", limit)] == [f"k/{n}" for n in range(7)]


async def test_after_is_exclusive_and_need_not_exist(store: Store) -> None:
    await store.txn([], [Put(key, "") for key in ("k/a", "k/b", "k/c", "l")])
    assert [kv.key for kv in (await store.range("k/", after="k/a")).kvs] == ["k/b", "k/c"]
    assert [kv.key for kv in (await store.range("k/", after="k/aa")).kvs] == ["k/b", "k/c"]
    assert [kv.key for kv in (await store.range("k/", after="a")).kvs] == ["k/a", "k/b", "k/c"]
    assert (await store.range("k/", after="k/c")).kvs == ()
    assert (await store.range("k/", after="z")).kvs == ()


async def test_more_tells_whether_keys_follow(store: Store) -> None:
    await store.txn([], [Put(key, "") for key in ("k/a", "k/b", "l")])
    assert (await store.range("k/", limit=1)).more
    assert not (await store.range("k/", limit=2)).more


async def test_a_pinned_walk_sees_one_state_while_everything_changes(store: Store) -> None:
    await store.txn([], [Put(f"k/{index}", "old") for index in range(5)])
    first = await store.range("k/", limit=2)
    await store.txn([], [Put("k/2", "new"), Delete("k/3"), Put("k/35", "new")])
    await store.txn([], [Delete("k/2"), Delete("k/0")])
    await store.txn([], [Put("k/2", "again"), Put("k/3", "again")])
    rest = await store.range("k/", limit=10, after="k/1", revision=first.revision)
    assert rest.revision == 1
    assert [(kv.key, kv.value, kv.mod_revision) for kv in rest.kvs] == [
        ("k/2", "old", 1),
        ("k/3", "old", 1),
        ("k/4", "old", 1),
    ]
    middle = await store.range("k/", revision=3)
    assert [(kv.key, kv.value) for kv in middle.kvs] == [
        ("k/1", "old"),
        ("k/35", "new"),
        ("k/4", "old"),
    ]
    now = await store.range("k/")
    assert [(kv.key, kv.value, kv.create_revision) for kv in now.kvs] == [
        ("k/1", "old", 1),
        ("k/2", "again", 4),
        ("k/3", "again", 4),
        ("k/35", "new", 2),
        ("k/4", "old", 1),
    ]


async def test_compaction_takes_the_past_and_leaves_the_present(store: Store) -> None:
    await store.txn([], [Put("a", "1"), Put("gone", "1")])
    await store.txn([], [Put("a", "2")])
    await store.txn([], [Delete("gone")])
    await store.txn([], [Put("a", "3")])
    await store.compact(3)
    for revision in (1, 2):
        with pytest.raises(Compacted) as refused:
            await store.range("", revision=revision)
        assert refused.value.oldest == 3
    assert [kv.value for kv in (await store.range("", revision=3)).kvs] == ["2"]
    assert [kv.value for kv in (await store.range("")).kvs] == ["3"]
    # Forgetting what is forgotten already changes nothing.
    await store.compact(1)
    assert [kv.value for kv in (await store.range("", revision=3)).kvs] == ["2"]


async def test_a_revision_to_come_is_refused(store: Store) -> None:
    await store.txn([], [Put("a", "1")])
    with pytest.raises(ValueError, match="2"):
        await store.range("", revision=2)
    with pytest.raises(ValueError, match="2"):
        await store.compact(2)


@pytest.mark.parametrize("limit", [0, -1, 10_001])
async def test_a_limit_out_of_bounds_is_refused(store: Store, limit: int) -> None:
    with pytest.raises(ValueError, match="10000"):
        await store.range("", limit=limit)
