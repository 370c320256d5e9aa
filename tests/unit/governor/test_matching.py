"""G1: the formula, by its definition and in the worked example of the guide."""

from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.governor.matching import (
    DEFAULT,
    MIN_MATCH,
    Comparison,
    Metric,
    coverage,
    hourly_cap,
    score,
)

sets = st.frozensets(st.sampled_from("abcdefghijklmnop"))
# Those that matches hit exactly, and those that lie between any two of them.
thresholds = st.fractions(Fraction(1, 20), 1, max_denominator=20) | st.fractions(
    Fraction(1, 10**17), 1, max_denominator=10**17
)
comparisons = st.builds(Comparison, st.sampled_from(Metric), thresholds)
money = st.integers(0, 10**12)
durations = st.timedeltas(timedelta(0), timedelta(days=30))


@given(sets.filter(bool), sets)
def test_g1_match_is_what_is_shared_over_what_either_has(
    required: frozenset[str], capabilities: frozenset[str]
) -> None:
    match = DEFAULT.match(required, capabilities)
    assert match == Fraction(len(required & capabilities), len(required | capabilities))
    assert match == (DEFAULT.match(capabilities, required) if capabilities else 0)
    assert (match == 1) == (required == capabilities)


@given(sets.filter(bool), sets)
def test_g1_by_coverage_match_is_the_share_of_what_is_required_that_is_met(
    required: frozenset[str], capabilities: frozenset[str]
) -> None:
    match = Comparison(Metric.COVERAGE).match(required, capabilities)
    assert match == Fraction(sum(each in capabilities for each in required), len(required))
    assert (match == 1) == (required <= capabilities)


@given(sets, comparisons)
def test_g1_everyone_matches_an_empty_requirement(
    capabilities: frozenset[str], comparison: Comparison
) -> None:
    assert comparison.match(frozenset(), capabilities) == 1
    assert comparison.qualifies(frozenset(), capabilities)


@given(sets, sets, comparisons)
def test_g1_qualifies_compares_exactly(
    required: frozenset[str], capabilities: frozenset[str], comparison: Comparison
) -> None:
    match = comparison.match(required, capabilities)
    assert comparison.qualifies(required, capabilities) == (match >= comparison.threshold)
    assert (match >= comparison.least) == (match >= comparison.threshold)


@pytest.mark.parametrize("threshold", [Fraction(0), Fraction(11, 10), Fraction(-1, 2)])
def test_g1_a_threshold_that_no_match_or_every_one_reaches_is_refused(threshold: Fraction) -> None:
    with pytest.raises(ValueError, match="must be above 0, at most 1"):
        Comparison(threshold=threshold)


@pytest.mark.parametrize(
    ("shared", "either", "expected"),
    [(7, 10, True), (14, 20, True), (45, 64, True), (44, 64, False), (69, 100, False)],
)
def test_g1_seven_tenths_qualifies_and_nothing_below(
    shared: int, either: int, expected: bool
) -> None:
    required = frozenset(str(n) for n in range(shared))
    capabilities = frozenset(str(n) for n in range(either))
    assert DEFAULT.qualifies(required, capabilities) is expected
    assert Fraction(7, 10) == MIN_MATCH


@given(
    st.integers(1, 64), st.integers(0, 64), st.integers(1, 10**11),
    st.integers(1, 64), st.integers(0, 64), st.integers(1, 10**11),
)  # fmt: skip
def test_g1_scores_order_as_the_exact_numbers_do(
    shared_a: int, more_a: int, cost_a: int, shared_b: int, more_b: int, cost_b: int
) -> None:
    match_a, match_b = Fraction(shared_a, shared_a + more_a), Fraction(shared_b, shared_b + more_b)
    exact_a, exact_b = match_a / cost_a, match_b / cost_b
    a, b = score(match_a, 1.0, cost_a), score(match_b, 1.0, cost_b)
    assert (a > b, a == b) == (exact_a > exact_b, exact_a == exact_b)


def test_g1_score_is_per_dollar_of_an_hour_and_weighs_reputation() -> None:
    assert score(Fraction(3, 4), 1.0, 2_000_000) == 0.375
    assert score(Fraction(3, 4), 0.5, 2_000_000) == 0.1875
    assert score(Fraction(3, 4), 1.0, 0) == 0.75


@given(money, durations.filter(bool), money)
def test_g1_a_cost_is_within_the_cap_exactly_when_the_whole_work_is(
    max_cost: int, duration: timedelta, cost_per_hour: int
) -> None:
    cap = hourly_cap(max_cost, duration)
    assert cap is not None
    hours = Fraction(duration // timedelta(microseconds=1), 3_600_000_000)
    assert (cost_per_hour <= cap) == (cost_per_hour * hours <= max_cost)


@pytest.mark.parametrize(
    ("max_cost", "duration"), [(None, timedelta(1)), (1, None), (None, None), (1, timedelta(0))]
)
def test_g1_without_both_numbers_there_is_no_cap(
    max_cost: int | None, duration: timedelta | None
) -> None:
    assert hourly_cap(max_cost, duration) is None


@given(sets, sets)
def test_coverage_is_the_share_of_needs_that_are_met(
    needs: frozenset[str], capabilities: frozenset[str]
) -> None:
    expected = Fraction(len(needs & capabilities), len(needs)) if needs else Fraction(0)
    assert coverage(needs, capabilities) == expected
