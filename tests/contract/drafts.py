"""Generated transactions and folds, for tests that hold a store against a model."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Field,
    Get,
    Member,
    Op,
    Put,
    Relation,
)

_ALL = ["a", "a/1", "a/2", "a/é", "b", "b/1"]
KEYS = st.sampled_from(_ALL)
VALUES = st.sampled_from(["", "1", '{"é": "\\n"}'])
# Leases are chosen by their order; 0 is none, and what does not exist counts as dead.
_LEASES = st.sampled_from([0, 0, 0, 1, 2, 3])

_NUMBERS = [each for each in Field if each is not Field.VALUE]


@dataclass(frozen=True)
class FoldDraft:
    """The arguments of a fold."""

    guard: Sequence[Compare]
    writes: Sequence[Put | Delete]
    members: Sequence[Member]


def compares(
    keys: st.SearchStrategy[str] = KEYS, numbers: Sequence[Field] = _NUMBERS
) -> st.SearchStrategy[Compare]:
    """Return compares of values, and of the fields `numbers`, with every relation."""
    relations = st.sampled_from(Relation)
    return st.one_of(
        st.builds(Compare, keys, st.sampled_from(numbers), st.integers(0, 8), relations),
        st.builds(Compare, keys, st.just(Field.VALUE), VALUES, relations),
    )


def _writes(
    keys: st.SearchStrategy[str], leases: st.SearchStrategy[int]
) -> st.SearchStrategy[Put | Delete]:
    puts = st.builds(Put, keys, VALUES, leases)
    return st.one_of(puts, puts, st.builds(Delete, keys))


def lists(
    keys: st.SearchStrategy[str] = KEYS, leases: st.SearchStrategy[int] = _LEASES
) -> st.SearchStrategy[list[Op]]:
    """Return lists of operations that touch a key once."""
    ops: st.SearchStrategy[Op] = st.one_of(_writes(keys, leases), st.builds(Get, keys))
    return st.lists(ops, max_size=4, unique_by=lambda op: op.key)


TXNS = st.tuples(st.lists(compares(), max_size=2), lists(), lists())


@st.composite
def folds(
    draw: st.DrawFn, numbers: Sequence[Field] = _NUMBERS, *, leases: bool = True
) -> FoldDraft:
    """Return folds whose parts touch keys of their own, beside one that all may look at."""
    common, *others = draw(st.permutations(_ALL))
    lease = _LEASES if leases else st.just(0)
    own = _writes(st.sampled_from(others[:2]), lease)
    writes = draw(st.lists(own, max_size=2, unique_by=lambda op: op.key))
    members = []
    for keys in (others[2:4], others[4:])[: draw(st.integers(0, 2))]:
        looks = st.lists(compares(st.sampled_from([common, *keys]), numbers), max_size=2)
        ops = lists(st.sampled_from(keys), lease)
        members.append(Member(draw(looks), draw(ops), draw(ops)))
    return FoldDraft(draw(st.lists(compares(numbers=numbers), max_size=2)), writes, members)
