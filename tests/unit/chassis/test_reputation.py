"""X5: what the formula of reputations keeps, whatever happened."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.chassis.reputation import (
    STEPS,
    Evidence,
    Verdict,
    added,
    aged,
    gathered,
    ranked,
    reputation,
)
from infrafabric_server.governor.policy.models import Reputing

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NEVER = Reputing(half_life=365 * DAY)

settings = st.builds(
    Reputing,
    prior=st.floats(0.001, 1),
    prior_weight=st.floats(1, 1000),
    half_life=st.timedeltas(timedelta(minutes=1), 365 * DAY),
)
ends = st.lists(
    st.tuples(st.sampled_from(Verdict), st.timedeltas(timedelta(0), 60 * DAY).map(NOON.__add__)),
    max_size=40,
)


def seen(attempts: list[tuple[Verdict, datetime]], by: Reputing) -> Evidence | None:
    evidence = None
    for verdict, ended in attempts:
        evidence = added(evidence, verdict, ended, by)
    return evidence


def record(good: int, bad: int, by: Reputing = NEVER) -> float:
    """Return the reputation by so many attempts of this moment."""
    attempts = [(Verdict.MET, NOON)] * good + [(Verdict.FAILED, NOON)] * bad
    return reputation(seen(attempts, by), NOON, by)


@given(ends, st.lists(st.sampled_from(Verdict), max_size=40), settings)
def test_x5_attempts_count_alike_at_once_and_one_after_the_other(
    before: list[tuple[Verdict, datetime]], verdicts: list[Verdict], by: Reputing
) -> None:
    known, ended = seen(before, by), NOON + 30 * DAY
    at_once = gathered(known, verdicts, ended, by)
    in_turn = seen([*before, *((each, ended) for each in verdicts)], by)
    assert (at_once is None) is (in_turn is None)
    if at_once is not None and in_turn is not None:
        assert at_once.time == in_turn.time
        assert at_once.good == pytest.approx(in_turn.good)
        assert at_once.seen == pytest.approx(in_turn.seen)


@given(ends, settings, st.timedeltas(timedelta(0), 400 * DAY))
def test_x5_a_reputation_is_within_0_and_1(
    attempts: list[tuple[Verdict, datetime]], by: Reputing, later: timedelta
) -> None:
    value = reputation(seen(attempts, by), NOON + later, by)
    assert 0 <= value <= 1
    assert 1 / STEPS <= ranked(value) <= 1


@given(ends, settings, st.timedeltas(timedelta(0), 60 * DAY).map(NOON.__add__), st.data())
def test_x5_an_attempt_that_went_better_makes_it_higher(
    attempts: list[tuple[Verdict, datetime]], by: Reputing, ended: datetime, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(attempts)))
    values = [
        reputation(
            seen([*attempts[:place], (verdict, ended), *attempts[place:]], by), NOON + 60 * DAY, by
        )
        for verdict in (Verdict.FAILED, Verdict.LATE, Verdict.MET)
    ]
    assert values == sorted(values)
    without = reputation(seen(attempts, by), NOON + 60 * DAY, by)
    assert values[0] <= without + 1e-12
    assert without <= values[2] + 1e-12


@given(st.integers(0, 30), st.integers(0, 30))
def test_x5_a_success_is_worth_more_than_none_and_a_failure_less(good: int, bad: int) -> None:
    assert record(good, bad + 1) < record(good, bad) < record(good + 1, bad)


@given(ends, settings, st.randoms(use_true_random=False))
def test_x5_the_order_in_which_ends_are_heard_of_changes_nothing(
    attempts: list[tuple[Verdict, datetime]], by: Reputing, order: random.Random
) -> None:
    other = list(attempts)
    order.shuffle(other)
    now = NOON + 60 * DAY
    assert reputation(seen(attempts, by), now, by) == pytest.approx(
        reputation(seen(other, by), now, by), rel=1e-9
    )


@given(ends, settings, st.lists(st.timedeltas(timedelta(0), 400 * DAY), min_size=2, max_size=6))
def test_x5_it_fades_towards_the_prior_and_never_past_it(
    attempts: list[tuple[Verdict, datetime]], by: Reputing, waits: list[timedelta]
) -> None:
    evidence = seen(attempts, by)
    start = NOON + 60 * DAY
    distances = [
        reputation(evidence, start + wait, by) - by.prior for wait in sorted([timedelta(0), *waits])
    ]
    for earlier, later in itertools.pairwise(distances):
        assert abs(later) <= abs(earlier) + 1e-12
        assert earlier * later >= -1e-24


@given(settings)
def test_x5_without_a_record_it_is_the_prior_and_after_long_again(by: Reputing) -> None:
    assert reputation(None, NOON, by) == by.prior
    evidence = seen([(Verdict.FAILED, NOON)] * 20, by)
    long_after = NOON + 40 * by.half_life
    assert reputation(evidence, long_after, by) == pytest.approx(by.prior, abs=1e-9)


@given(st.integers(0, 12), st.integers(200, 2000), st.floats(0, 0.1))
def test_x5_a_lucky_start_does_not_beat_a_long_record(lucky: int, many: int, bad: float) -> None:
    """Twelve perfect attempts are worth less than hundreds of which nine in ten were good."""
    failed = int(many * bad)
    assert record(lucky, 0) < record(many - failed, failed)


@given(st.integers(1, 50), st.integers(0, 50), st.integers(2, 20))
def test_x5_of_two_equal_shares_the_one_that_was_seen_more_is_further_from_the_prior(
    good: int, bad: int, times: int
) -> None:
    once, often = record(good, bad), record(good * times, bad * times)
    share = Fraction(good, good + bad)
    if share == Fraction(1, 2):
        assert once == pytest.approx(often)
    else:
        assert (often > once) is (share > Fraction(1, 2))


@given(st.lists(st.sampled_from(Verdict), min_size=1, max_size=30))
def test_x5_equal_records_are_ranked_alike(verdicts: list[Verdict]) -> None:
    one = reputation(seen([(each, NOON) for each in verdicts], NEVER), NOON + DAY, NEVER)
    other = reputation(seen([(each, NOON) for each in verdicts[::-1]], NEVER), NOON + DAY, NEVER)
    assert ranked(one) == ranked(other)


@given(st.integers(1, STEPS), st.integers(1, 64))
def test_g1_a_score_with_a_ranked_reputation_is_exact_but_for_its_division(
    step: int, shared: int
) -> None:
    """So swarms whose exact scores are equal are not told apart by rounding."""
    product = shared * (step / STEPS) * 1_000_000
    assert Fraction(product) == Fraction(shared * step * 1_000_000, STEPS)


def test_x5_evidence_halves_with_each_half_life_and_takes_no_room() -> None:
    by = Reputing(half_life=7 * DAY)
    evidence = seen([(Verdict.MET, NOON)] * 1000 + [(Verdict.FAILED, NOON)] * 1000, by)
    assert evidence is not None
    after = aged(evidence, NOON + 14 * DAY, by)
    assert after.good == pytest.approx(250)
    assert after.seen == pytest.approx(500)
    assert len(evidence.model_dump_json()) < 100


def test_x5_a_late_attempt_is_worth_half() -> None:
    by = NEVER
    assert reputation(seen([(Verdict.LATE, NOON)] * 10, by), NOON, by) == by.prior
