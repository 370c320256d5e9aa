import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Field,
    Get,
    KeyValue,
    LeaseNotFound,
    Member,
    Put,
    Relation,
    Store,
    absent,
    present,
    unchanged,
)
from tests.contract.drafts import FoldDraft, folds
from tests.contract.worlds import watched
from tests.unit.store.model import Model

# Of which a generated fold may ask for an operand: revisions are the store's own.
_FIELDS = (Field.VERSION, Field.LEASE)


async def test_a_fold_applies_writes_and_members_at_one_revision(store: Store) -> None:
    await store.txn([], [Put("account", "0")])
    members = [Member([absent(f"k{n}")], [Put(f"k{n}", f"{n}")]) for n in range(3)]
    result = await store.fold([unchanged("account", 1)], [Put("account", "3")], members)
    assert (result.succeeded, result.revision, result.found) == (True, 2, ())
    assert [(each.succeeded, each.revision) for each in result.members] == [(True, 2)] * 3
    (batch,) = await watched(store, "", 2, 2)
    assert {event.key: event.kv and event.kv.value for event in batch.events} == {
        "account": "3",
        "k0": "0",
        "k1": "1",
        "k2": "2",
    }


async def test_a_guard_that_does_not_hold_applies_nothing_and_tells_what_is_there(
    store: Store,
) -> None:
    await store.txn([], [Put("account", "7")])
    guard = [unchanged("account", 0), absent("other")]
    result = await store.fold(guard, [Put("account", "8")], [Member([], [Put("a", "")], [])])
    assert (result.succeeded, result.members) == (False, ())
    assert result.found == (KeyValue("account", "7", 1, 1, 1), None)
    assert result.revision == await store.revision() == 1
    assert [kv.key for kv in (await store.range("")).kvs] == ["account"]


async def test_a_member_that_does_not_hold_takes_its_other_list_and_nobody_along(
    store: Store,
) -> None:
    members = [
        Member([absent("a")], [Put("a", "1")]),
        Member([present("b")], [Put("b", "1")], [Get("b"), Put("refused", "b")]),
        Member([absent("c")], [Delete("nothing"), Put("c", "1")]),
    ]
    result = await store.fold([], [Put("account", "3")], members)
    assert [each.succeeded for each in result.members] == [True, False, True]
    assert result.members[1].gets == (None,)
    there = {kv.key for kv in (await store.range("")).kvs}
    assert there == {"account", "a", "c", "refused"}


async def test_every_part_of_a_fold_sees_the_state_before_it(store: Store) -> None:
    await store.txn([], [Put("account", "old"), Put("task", "old")])
    reads = Member([Compare("flag", Field.VALUE, "")], [Get("flag")])
    takes = Member([Compare("task", Field.VALUE, "old")], [Get("task"), Put("task", "new")])
    result = await store.fold(
        [Compare("account", Field.VALUE, "old"), Compare("account", Field.LEASE, 0)],
        [Put("account", "new")],
        [reads, takes, reads],
    )
    assert [each.succeeded for each in result.members] == [True, True, True]
    assert [got and got.value for each in result.members for got in each.gets] == [
        None,
        "old",
        None,
    ]


@pytest.mark.parametrize("relation", list(Relation))
@pytest.mark.parametrize("operand", ["", "x"])
async def test_a_guard_may_ask_for_the_value_of_a_missing_key(
    store: Store, relation: Relation, operand: str
) -> None:
    """A missing key counts as an empty text, as in a transaction."""
    guard = [Compare("missing", Field.VALUE, operand, relation)]
    held = (await store.txn(guard, [])).succeeded
    result = await store.fold(guard, [Put("a", "1")], [Member(guard, [Put("b", "1")])])
    assert result.succeeded is held
    assert result.found == (() if held else (None,))
    assert [each.succeeded for each in result.members] == [True] * held
    assert len((await store.range("")).kvs) == 2 * held


@pytest.mark.parametrize(
    ("writes", "members"),
    [
        ([Put("k", "1")], [Member([], [Put("k", "2")])]),
        ([Put("k", "1")], [Member([], [], [Delete("k")])]),
        ([Delete("k")], [Member([absent("k")], [])]),
        ([Put("k", "1")], [Member([], [Get("k")])]),
        ([], [Member([], [Put("k", "1")]), Member([], [], [Put("k", "2")])]),
        ([], [Member([], [Put("k", "1")]), Member([present("k")], [])]),
        ([], [Member([], [Get("k")]), Member([], [Delete("k")])]),
        ([Put("k", "1"), Delete("k")], []),
        ([], [Member([], [Put("k", "1"), Put("k", "2")])]),
    ],
)
async def test_parts_that_touch_one_key_are_refused_by_its_name(
    store: Store, writes: Sequence[Put | Delete], members: Sequence[Member]
) -> None:
    with pytest.raises(ValueError, match=r"\bk\b"):
        await store.fold([], writes, members)
    assert await store.revision() == 0


async def test_members_may_look_at_one_key_and_the_guard_at_any(store: Store) -> None:
    await store.txn([], [Put("open", "")])
    looks = [Member([present("open")], [Put(f"k{n}", "")]) for n in range(5)]
    result = await store.fold([absent("k1"), absent("account")], [Put("account", "5")], looks)
    assert [each.succeeded for each in result.members] == [True] * 5


async def test_a_fold_takes_64_members_and_no_more(store: Store) -> None:
    def members(count: int) -> list[Member]:
        return [
            Member(
                [absent(f"{n}/{part}") for part in "abcd"],
                [Put(f"{n}/{part}", "x" * 500) for part in "abcd"],
            )
            for n in range(count)
        ]

    with pytest.raises(ValueError, match="64"):
        await store.fold([], [], members(65))
    result = await store.fold([absent("account")], [Put("account", "64")], members(64))
    assert all(each.succeeded for each in result.members)
    with pytest.raises(ValueError, match="8192"):
        await store.fold([], [], [Member([], [Put(f"k{n}", "") for n in range(8193)])])
    with pytest.raises(ValueError, match="bytes"):
        await store.fold([], [], [Member([], [Put("k", "x" * 64 * 1024 * 1024), Put("l", "x")])])


async def test_a_dead_lease_of_one_member_applies_nothing(store: Store) -> None:
    lease = await store.grant(60)
    await store.revoke(lease)
    leased = Member([absent("a")], [Put("a", "", lease)])
    with pytest.raises(LeaseNotFound):
        await store.fold([], [Put("account", "")], [leased, Member([], [Put("b", "")])])
    assert (await store.range("")).kvs == ()
    # The list that is not chosen does not matter.
    unchosen = Member([present("a")], [Put("a", "", lease)], [Put("c", "")])
    assert (await store.fold([], [], [unchosen])).succeeded


async def test_c1_of_64_folds_of_one_account_exactly_one_wins_each_round(store: Store) -> None:
    """C1: the guard is a compare-and-swap, whatever else the fold carries."""
    revision = 0
    for round_ in range(10):
        results = await asyncio.gather(
            *(
                store.fold(
                    [unchanged("account", revision)],
                    [Put("account", f"{n}")],
                    [Member([], [Put(f"task/{round_}/{n}", "")])],
                )
                for n in range(64)
            )
        )
        (winner,) = [n for n, result in enumerate(results) if result.succeeded]
        kv = await store.get("account")
        assert kv is not None
        assert (kv.value, kv.mod_revision) == (str(winner), results[winner].revision)
        (written,) = (await store.range(f"task/{round_}/")).kvs
        assert written.key == f"task/{round_}/{winner}"
        # Whoever lost was told a state that it can decide on anew.
        told = [result.found[0] for result in results if not result.succeeded]
        assert {found.version if found else 0 for found in told} <= {round_, round_ + 1}
        revision = kv.mod_revision


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(drafts=st.lists(folds(_FIELDS, leases=False), min_size=1, max_size=6))
async def test_folds_do_what_a_few_dictionaries_do(store: Store, drafts: list[FoldDraft]) -> None:
    """Alone and in company, which may share a revision and nothing else."""
    await store.txn([], [Delete(kv.key) for kv in (await store.range("")).kvs])
    model = Model()
    for draft in drafts:
        async with asyncio.TaskGroup() as group:
            folding = group.create_task(store.fold(draft.guard, draft.writes, draft.members))
            for n in range(len(draft.guard)):
                group.create_task(store.txn([], [Put(f"company/{n}", "")]))
        result = folding.result()
        before = model.revision
        expected = model.fold(draft.guard, draft.writes, draft.members)
        assert expected is not None
        assert result.succeeded == expected.succeeded
        assert _seen(result.found) == _seen(expected.found)
        for member, wanted in zip(result.members, expected.members, strict=True):
            assert member.succeeded == wanted.succeeded
            assert member.revision == result.revision
            assert _seen(member.gets) == _seen(wanted.gets)
        kvs = [kv for kv in (await store.range("")).kvs if not kv.key.startswith("company/")]
        assert {kv.key: (kv.value, kv.version) for kv in kvs} == {
            key: (kv.value, kv.version) for key, kv in model.state.items()
        }
        if expected.succeeded and model.revision > before:
            changed = {event.key for event in model.batches[-1].events}
            assert {kv.mod_revision for kv in kvs if kv.key in changed} <= {result.revision}


def _seen(found: Sequence[KeyValue | None]) -> list[tuple[str, int] | None]:
    return [(kv.value, kv.version) if kv else None for kv in found]
