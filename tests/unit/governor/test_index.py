"""The index counts and matches as the sets themselves do, in every form of a posting."""

import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from infrafabric_server.governor.index import CapabilityIndex
from infrafabric_server.governor.matching import Comparison, Metric
from infrafabric_server.governor.segment import DENSE, SIZE

sets = st.frozensets(st.sampled_from("abcdefghij"), max_size=8)
thresholds = st.fractions(Fraction(1, 10), 1, max_denominator=10) | st.fractions(
    Fraction(1, 1000), 1, max_denominator=10**12
)
comparisons = st.builds(Comparison, st.sampled_from(Metric), thresholds)


class IndexMachine(RuleBasedStateMachine):
    """Rows come and go in any order; every answer equals the one of the plain sets."""

    rows = Bundle("rows")
    of_requirements = False

    def __init__(self) -> None:
        super().__init__()
        self.index = CapabilityIndex(of_requirements=self.of_requirements)
        self.known: dict[int, frozenset[str]] = {}

    @rule(target=rows, capabilities=sets)
    def add(self, capabilities: frozenset[str]) -> int:
        row = self.index.add(capabilities)
        assert row not in self.known
        self.known[row] = capabilities
        return row

    @rule(row=consumes(rows))
    def discard(self, row: int) -> None:
        self.index.discard(row, self.known.pop(row))

    @rule(query=sets, comparison=comparisons)
    def match(self, query: frozenset[str], comparison: Comparison) -> None:
        """G1: either metric and any threshold, changed from one question to the next."""
        shared = self.index.shared(query)
        matching = self.index.matching(query, shared, comparison)
        assert len(shared) == len(matching) == self.index.rows
        for row in range(self.index.rows):
            capabilities = self.known.get(row)
            assert shared[row] == len(query & (capabilities or frozenset()))
            if capabilities is None:
                assert not matching[row]
                continue
            sides = (capabilities, query) if self.of_requirements else (query, capabilities)
            assert matching[row] == (comparison.match(*sides) >= comparison.threshold)

    @invariant()
    def rows_are_dense_numbers(self) -> None:
        assert all(row < self.index.rows for row in self.known)
        assert self.known or self.index.rows == 0

    @invariant()
    def postings_are_those_in_use(self) -> None:
        used = {capability for each in self.known.values() for capability in each}
        assert self.index.postings == len(used)


class RequirementsMachine(IndexMachine):
    """The same where the rows are what is required."""

    of_requirements = True


TestIndex = IndexMachine.TestCase
TestIndex.settings = settings(max_examples=60, stateful_step_count=40)
TestRequirements = RequirementsMachine.TestCase
TestRequirements.settings = settings(max_examples=60, stateful_step_count=40)


def numbers(count: int) -> frozenset[str]:
    """Return that many capabilities, each set within the next larger one."""
    return frozenset(str(number) for number in range(count))


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("of_requirements", [False, True])
@given(st.fractions(Fraction(1, 10**18), 1, max_denominator=10**18) | thresholds)
def test_g1_any_threshold_is_compared_exactly_with_the_largest_sets(
    metric: Metric, of_requirements: bool, threshold: Fraction
) -> None:
    comparison = Comparison(metric, threshold)
    index = CapabilityIndex(of_requirements=of_requirements)
    rows = {index.add(numbers(count)): numbers(count) for count in (0, 1, 31, 63, 64)}
    for query in map(numbers, (0, 1, 33, 64)):
        matching = index.matching(query, index.shared(query), comparison)
        for row, known in rows.items():
            sides = (known, query) if of_requirements else (query, known)
            assert matching[row] == comparison.qualifies(*sides)


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
