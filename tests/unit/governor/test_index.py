"""The index counts and matches as the sets themselves do, in every form of a posting."""

import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from infrafabric_server.governor.index import CapabilityIndex
from infrafabric_server.governor.matching import qualifies
from infrafabric_server.governor.segment import DENSE, SIZE

sets = st.frozensets(st.sampled_from("abcdefghij"), max_size=8)


class IndexMachine(RuleBasedStateMachine):
    """Rows come and go in any order; every answer equals the one of the plain sets."""

    rows = Bundle("rows")

    def __init__(self) -> None:
        super().__init__()
        self.threshold = Fraction(7, 10)
        self.index = CapabilityIndex(self.threshold)
        self.known: dict[int, tuple[frozenset[str], bool]] = {}

    @rule(target=rows, capabilities=sets, always=st.booleans())
    def add(self, capabilities: frozenset[str], always: bool) -> int:
        row = self.index.add(capabilities, always=always)
        assert row not in self.known
        self.known[row] = capabilities, always
        return row

    @rule(row=consumes(rows))
    def discard(self, row: int) -> None:
        self.index.discard(row, self.known.pop(row)[0])

    @rule(query=sets)
    def match(self, query: frozenset[str]) -> None:
        check(self.index, self.known, query, self.threshold)

    @invariant()
    def rows_are_dense_numbers(self) -> None:
        assert all(row < self.index.rows for row in self.known)
        assert self.known or self.index.rows == 0

    @invariant()
    def postings_are_those_in_use(self) -> None:
        used = {
            capability for capabilities, _ in self.known.values() for capability in capabilities
        }
        assert self.index.postings == len(used)


def check(
    index: CapabilityIndex,
    known: dict[int, tuple[frozenset[str], bool]],
    query: frozenset[str],
    threshold: Fraction,
) -> None:
    """Compare an index with the sets that were entered."""
    shared = index.shared(query)
    matching = index.matching(query, shared)
    assert len(shared) == len(matching) == index.rows
    for row in range(index.rows):
        capabilities, always = known.get(row, (frozenset[str](), False))
        assert shared[row] == len(query & capabilities)
        if query:
            fits = row in known and (always or qualifies(query, capabilities, threshold=threshold))
            assert matching[row] == fits


TestIndex = IndexMachine.TestCase
TestIndex.settings = settings(max_examples=60, stateful_step_count=40)


@given(
    st.lists(sets, min_size=1, max_size=12),
    sets.filter(bool),
    st.fractions(min_value=Fraction(1, 1000), max_value=1, max_denominator=10**6),
)
def test_g1_any_threshold_is_compared_exactly(
    known: list[frozenset[str]], query: frozenset[str], threshold: Fraction
) -> None:
    index = CapabilityIndex(threshold)
    rows = {index.add(capabilities): (capabilities, False) for capabilities in known}
    check(index, rows, query, threshold)


@pytest.mark.parametrize("threshold", [Fraction(0), Fraction(11, 10), Fraction(1, 10**7)])
def test_g1_a_threshold_that_cannot_be_compared_exactly_is_refused(threshold: Fraction) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        CapabilityIndex(threshold)


def test_more_capabilities_than_a_byte_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        CapabilityIndex().add(frozenset(str(n) for n in range(65)))


WORDS = {f"common-{n}": 0.95 for n in range(20)} | {f"rare-{n}": 0.7**n for n in range(30)}
"""Words and how often they occur: more common ones than one batch of columns, and all less."""


def draw(chance: random.Random) -> frozenset[str]:
    """Return a set of words, each as often as it occurs."""
    return frozenset(word for word, share in WORDS.items() if chance.random() < share)


def test_every_form_of_posting_counts_alike_across_blocks() -> None:
    """Rows fill a block and part of the next, thin out, and fill again in other places."""
    chance = random.Random(7)
    index = CapabilityIndex()
    known = {}
    for _ in range(SIZE + 2 * DENSE):
        capabilities = draw(chance)
        known[index.add(capabilities)] = capabilities
    compare(index, known)
    for row in chance.sample(sorted(known), k=len(known) - DENSE // 4):
        index.discard(row, known.pop(row))
    compare(index, known)
    for _ in range(4 * DENSE):
        capabilities = draw(chance)
        known[index.add(capabilities)] = capabilities
    compare(index, known)
    for row in list(known):
        index.discard(row, known.pop(row))
    assert (index.rows, index.postings) == (0, 0)


def compare(index: CapabilityIndex, known: dict[int, frozenset[str]]) -> None:
    """Compare the counts of all rows for queries that mix rare and frequent words."""
    words = sorted(WORDS)
    for query in (frozenset(words), frozenset(words[::3]), frozenset(words[40:]), frozenset("?")):
        expected = np.zeros(index.rows, np.uint8)
        for row, capabilities in known.items():
            expected[row] = len(query & capabilities)
        assert np.array_equal(index.shared(query), expected)
    used = {(row // SIZE, word) for row, capabilities in known.items() for word in capabilities}
    assert index.postings == len(used)
