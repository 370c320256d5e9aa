from collections.abc import Sequence

import pytest

from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Field,
    Get,
    KeyValue,
    LeaseNotFound,
    Op,
    Put,
    Relation,
    Store,
    absent,
    present,
    unchanged,
)
from tests.contract.worlds import watched


async def test_a_new_store_is_at_revision_0_and_empty(store: Store) -> None:
    assert await store.revision() == 0
    assert await store.get("a") is None
    assert (await store.range("")).kvs == ()


async def test_a_put_creates_a_key_and_a_second_one_changes_it(store: Store) -> None:
    first = await store.txn([], [Put("a", "1")])
    assert (first.succeeded, first.revision) == (True, 1)
    assert await store.get("a") == KeyValue("a", "1", create_revision=1, mod_revision=1, version=1)
    await store.txn([], [Put("b", "x")])
    await store.txn([], [Put("a", "2")])
    assert await store.get("a") == KeyValue("a", "2", create_revision=1, mod_revision=3, version=2)


async def test_a_deleted_key_begins_anew(store: Store) -> None:
    await store.txn([], [Put("a", "1")])
    await store.txn([], [Put("a", "2")])
    await store.txn([], [Delete("a")])
    assert await store.get("a") is None
    await store.txn([], [Put("a", "3")])
    assert await store.get("a") == KeyValue("a", "3", create_revision=4, mod_revision=4, version=1)


async def test_all_changes_of_a_transaction_share_one_revision(store: Store) -> None:
    await store.txn([], [Put("old", "1")])
    result = await store.txn([], [Put("b", "2"), Delete("old"), Put("a", "1")])
    (batch,) = await watched(store, "", 2, 2)
    assert result.revision == batch.revision == 2
    assert [(event.key, event.kv is None) for event in batch.events] == [
        ("a", False),
        ("b", False),
        ("old", True),
    ]


async def test_a_transaction_that_changes_nothing_takes_no_revision(store: Store) -> None:
    await store.txn([], [Put("a", "1")])
    for ops in ([], [Delete("nothing")], [Get("a")]):
        assert (await store.txn([], ops)).revision == 1
    assert await store.revision() == 1


async def test_a_failed_compare_chooses_the_other_list(store: Store) -> None:
    result = await store.txn([present("a")], [Put("won", "1")], [Put("lost", "1"), Get("lost")])
    assert (result.succeeded, result.revision, result.gets) == (False, 1, (None,))
    assert await store.get("won") is None
    assert await store.get("lost") is not None


async def test_gets_see_what_was_before_the_transactions_own_changes(store: Store) -> None:
    await store.txn([], [Put("a", "1")])
    result = await store.txn([], [Get("b"), Put("a", "2"), Put("b", "2"), Get("a")])
    assert result.gets == (None, KeyValue("a", "1", 1, 1, 1))


@pytest.mark.parametrize("field", list(Field))
@pytest.mark.parametrize("relation", list(Relation))
async def test_every_compare_of_a_key_that_exists(
    store: Store, field: Field, relation: Relation
) -> None:
    lease = await store.grant(60)
    await store.txn([], [Put("other", "")])
    await store.txn([], [Put("key", "l")])
    await store.txn([], [Put("key", "m", lease)])
    values: dict[Field, int | str] = {
        Field.CREATE_REVISION: 2,
        Field.MOD_REVISION: 3,
        Field.VERSION: 2,
        Field.LEASE: lease,
        Field.VALUE: "m",
    }
    actual = values[field]
    below, above = ("l", "n") if isinstance(actual, str) else (actual - 1, actual + 1)
    await _check(store, "key", field, relation, [below, actual, above], 1)


@pytest.mark.parametrize("field", list(Field))
@pytest.mark.parametrize("relation", list(Relation))
async def test_a_missing_key_compares_as_zero_or_empty(
    store: Store, field: Field, relation: Relation
) -> None:
    operands: list[int] | list[str] = ["", "a"] if field is Field.VALUE else [0, 1]
    await _check(store, "missing", field, relation, operands, 0)


async def _check(
    store: Store,
    key: str,
    field: Field,
    relation: Relation,
    operands: Sequence[int | str],
    position: int,
) -> None:
    """Compare with `operands`, which are in order; the key's own value is at `position`."""
    for index, operand in enumerate(operands):
        result = await store.txn([Compare(key, field, operand, relation)], [])
        expected = {
            Relation.EQUAL: position == index,
            Relation.NOT_EQUAL: position != index,
            Relation.LESS: position < index,
            Relation.GREATER: position > index,
        }[relation]
        assert result.succeeded is expected, f"{field} {relation} {operand!r}"


async def test_every_compare_must_hold(store: Store) -> None:
    await store.txn([], [Put("a", "1"), Put("b", "1")])
    both = [unchanged("a", 1), unchanged("b", 1)]
    assert (await store.txn([*both, absent("c")], [])).succeeded
    assert not (await store.txn([*both, present("c")], [])).succeeded


async def test_texts_of_all_sorts_come_back_as_they_went_in(store: Store) -> None:
    texts = ["", "ä\u20ac\U0001f600", '"\\\n\t\r\x01\x7f', "\ufffd\uffff", "a'b;--", "é" * 1000]
    await store.txn([], [Put(f"k{text}", text) for text in texts])
    for text in texts:
        kv = await store.get(f"k{text}")
        assert kv is not None
        assert kv.value == text
        held = [Compare(f"k{text}", Field.VALUE, text)]
        result = await store.txn(held, [Get(f"k{text}")])
        assert (result.succeeded, result.gets) == (True, (kv,))


@pytest.mark.parametrize(
    "ops",
    [
        [Put("a", "1"), Put("a", "2")],
        [Put("a", "1"), Delete("a")],
        [Delete("a"), Delete("a")],
        [Put("", "1")],
        [Put("a\0b", "1")],
        [Put("a", "1\0")],
        [Put("\ud800", "1")],
        [Put("a", "\udfff")],
    ],
)
async def test_what_cannot_be_stored_is_refused_whole(store: Store, ops: list[Op]) -> None:
    with pytest.raises(ValueError, match=r"key|value"):
        await store.txn([], [Put("fine", "1"), *ops])
    with pytest.raises(ValueError, match=r"key|value"):
        await store.txn([], [], [Put("fine", "1"), *ops])
    assert await store.revision() == 0


async def test_a_transaction_takes_8192_operations_and_no_more(store: Store) -> None:
    compares = [absent(f"c{index}") for index in range(192)]
    puts = [Put(f"k{index:05}", str(index)) for index in range(8000)]
    with pytest.raises(ValueError, match="8192"):
        await store.txn([*compares, absent("x")], puts)
    assert (await store.txn(compares, puts)).revision == 1
    (batch,) = await watched(store, "", 1, 1)
    assert [event.key for event in batch.events] == [put.key for put in puts]
    page = await store.range("k", limit=10_000)
    assert (len(page.kvs), page.more) == (8000, False)


async def test_a_transaction_takes_64_mib_of_values_and_no_more(store: Store) -> None:
    mib = "x" * 1024 * 1024
    puts = [Put(f"k{index}", mib) for index in range(64)]
    with pytest.raises(ValueError, match="bytes"):
        await store.txn([], [*puts, Put("more", "x")])
    await store.txn([], puts)
    kv = await store.get("k63")
    assert kv is not None
    assert kv.value == mib


async def test_a_put_with_a_dead_lease_applies_nothing(store: Store) -> None:
    lease = await store.grant(60)
    await store.revoke(lease)
    for dead in (lease, lease + 1000):
        with pytest.raises(LeaseNotFound):
            await store.txn([], [Put("a", "1"), Put("b", "1", dead)])
    # The list that is not chosen does not matter.
    assert (await store.txn([], [Put("c", "1")], [Put("b", "1", lease)])).revision == 1
    assert [kv.key for kv in (await store.range("")).kvs] == ["c"]
