"""Batches mean what their members mean one after another."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.store.etcd.planning import Footprint, Limits, footprint, negated, plan
from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Field,
    FoldResult,
    Get,
    KeyValue,
    Op,
    Put,
    Relation,
)
from infrafabric_server.store.transactions import Answer, Fold, Request, Table, Txn

_KEYS = st.sampled_from("abcdefgh")
_COMPARES = st.one_of(
    st.builds(
        Compare,
        _KEYS,
        st.sampled_from([Field.VERSION, Field.MOD_REVISION]),
        st.integers(0, 3),
        st.sampled_from(Relation),
    ),
    st.builds(
        Compare, _KEYS, st.just(Field.VALUE), st.sampled_from(["", "x"]), st.sampled_from(Relation)
    ),
)
_OPS: st.SearchStrategy[Op] = st.one_of(
    st.builds(Put, _KEYS, st.sampled_from("xyz")), st.builds(Delete, _KEYS), st.builds(Get, _KEYS)
)
_LISTS = st.lists(_OPS, max_size=4, unique_by=lambda op: op.key)
_TXNS = st.builds(Txn, st.lists(_COMPARES, max_size=3), _LISTS, _LISTS)
# No two parts touch one key: each has letters of its own.
_PARTS = [
    st.builds(
        Txn,
        st.lists(st.builds(Compare, keys, st.just(Field.VALUE), st.just("x")), max_size=2),
        st.lists(st.builds(Put, keys, st.just("x")), max_size=1),
        st.lists(st.builds(Get, keys), max_size=1),
    )
    for keys in (st.sampled_from("cd"), st.sampled_from("ef"))
]
_FOLDS = st.builds(
    Fold,
    st.lists(_COMPARES, max_size=2),
    st.lists(st.builds(Put, st.sampled_from("ab"), st.just("y")), max_size=1),
    st.one_of(st.tuples(), st.tuples(_PARTS[0]), st.tuples(*_PARTS)),
)
_REQUESTS: st.SearchStrategy[Request] = st.one_of(_TXNS, _TXNS, _FOLDS)
_LIMITS = st.builds(
    Limits,
    members=st.integers(1, 8),
    operations=st.integers(4, 24),
    size=st.integers(200, 5000),
    lookahead=st.integers(1, 12),
)


def _conflict(one: Footprint, other: Footprint) -> bool:
    return bool(
        one.writes & (other.reads | other.writes) or other.writes & (one.reads | one.writes)
    )


def _batches(members: list[Footprint], limits: Limits) -> list[list[Footprint]]:
    waiting, batches = list(members), []
    while waiting:
        places = plan(waiting, limits)
        batches.append([waiting[place] for place in places])
        waiting = [each for place, each in enumerate(waiting) if place not in set(places)]
    return batches


def _entries(table: Table) -> dict[str, tuple[str, int]]:
    return {key: (kv.value, kv.version) for key, kv in table.entries.items()}


def _at_once(table: Table, batch: list[Footprint]) -> list[Answer]:
    """Carry out a batch as etcd does: every member sees the state before it."""
    before = list(table.entries.values())
    results = []
    changed: dict[str, KeyValue | None] = {}
    for member in batch:
        alone = Table(table.revision, before, set())
        outcome = alone.apply(member.request)
        results.append(outcome.result)
        for event in outcome.batch.events if outcome.batch else ():
            assert event.key not in changed, "etcd takes a key once in a batch"
            changed[event.key] = event.kv
    if changed:
        table.revision += 1
    for key, kv in changed.items():
        if kv is None:
            del table.entries[key]
        else:
            table.entries[key] = kv
    return results


# A revision that members share is compared with nothing else: those depend on the company.
_PLAIN = _REQUESTS.filter(
    lambda each: all(compare.field is not Field.MOD_REVISION for compare in each.compares)
)


def _said(answer: Answer) -> tuple[object, ...]:
    parts = answer.members if isinstance(answer, FoldResult) else ()
    kvs = answer.found if isinstance(answer, FoldResult) else answer.gets
    seen = [(kv.value, kv.version) if kv else None for kv in kvs]
    return (answer.succeeded, seen, [_said(part) for part in parts])


@given(st.lists(_PLAIN, max_size=12), _LIMITS)
def test_a_batch_is_as_good_as_one_after_another(requests: list[Request], limits: Limits) -> None:
    together, apart = Table(1, (), set()), Table(1, (), set())
    members = [footprint(request) for request in requests]
    results: dict[int, Answer] = {}
    for batch in _batches(members, limits):
        for member, result in zip(batch, _at_once(together, batch), strict=True):
            results[id(member)] = result
    for member in members:
        assert _said(results[id(member)]) == _said(apart.apply(member.request).result)
    assert _entries(together) == _entries(apart)


@given(st.lists(_REQUESTS, max_size=12), _LIMITS)
def test_batches_keep_their_limits_and_the_order_of_those_in_each_others_way(
    requests: list[Request], limits: Limits
) -> None:
    members = [footprint(request) for request in requests]
    batches = _batches(members, limits)
    at = {id(member): place for place, batch in enumerate(batches) for member in batch}
    assert len(at) == len(members)
    for batch in batches:
        if len(batch) == 1:
            continue
        assert len(batch) <= limits.members
        assert len(batch) + 1 + max(member.width for member in batch) <= limits.operations
        assert sum(member.size for member in batch) <= limits.size
    for earlier, later in combinations(members, 2):
        if _conflict(earlier, later):
            assert at[id(earlier)] < at[id(later)]


def test_the_largest_transaction_goes_alone() -> None:
    small = footprint(Txn([], [Put("small", "")], []))
    large = footprint(Txn([], [Put(f"k{n}", "") for n in range(6000)], []))
    assert plan([small, large, small], Limits()) == [0]
    assert plan([large, small], Limits()) == [0]


def test_sixty_four_ordinary_ones_go_together() -> None:
    members = [footprint(Txn([], [Put(f"k{n}", "x" * 500)], [])) for n in range(100)]
    assert plan(members, Limits()) == list(range(64))


@given(_COMPARES, st.sampled_from(["", "w", "x", "y", None]))
def test_what_etcd_is_asked_instead_is_the_same(compare: Compare, value: str | None) -> None:
    """A missing key's value: etcd denies every compare, the port takes it as empty."""
    if compare.field is not Field.VALUE:
        assert negated(compare) == ()
        return
    entries = [] if value is None else [KeyValue("key", value, 1, 1, 1)]

    def holds(condition: Compare) -> bool:
        own = Compare("key", Field.VALUE, condition.operand, condition.relation)
        return Table(1, entries, set()).run(Txn([own], [], [])).result.succeeded

    def etcd(condition: Compare) -> bool:
        return value is not None and holds(condition)

    asked = negated(compare)
    answer = not any(etcd(each) for each in asked) if asked else etcd(compare)
    assert answer == holds(compare)
