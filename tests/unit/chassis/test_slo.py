"""X4: service levels over a rolling window, against a model that remembers everything."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.chassis import slo
from infrafabric_server.chassis.reputation import Verdict
from infrafabric_server.chassis.slo import SLICES, ObjectiveKind, Window
from infrafabric_server.governor.policy.models import ServiceLevel

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEVEL = ServiceLevel(window=24 * HOUR)

Attempt = tuple[Verdict, timedelta, datetime]

attempts = st.lists(
    st.tuples(
        st.sampled_from(Verdict),
        st.timedeltas(timedelta(0), timedelta(days=3)),
        st.timedeltas(timedelta(0), 60 * HOUR).map(NOON.__add__),
    ),
    max_size=60,
)


def window_of(ended: list[Attempt], now: datetime, level: ServiceLevel = LEVEL) -> Window:
    return slo.merged([slo.attempt(*each) for each in ended], now, level)


def one(
    window: Window, now: datetime, kind: ObjectiveKind, level: ServiceLevel = LEVEL
) -> slo.Objective:
    (found,) = [each for each in slo.objectives(window, now, level) if each.kind is kind]
    return found


@given(attempts)
def test_x4_the_counts_are_those_of_all_attempts_in_the_window(ended: list[Attempt]) -> None:
    now = NOON + 60 * HOUR
    counts = slo.total(window_of(ended, now), now, LEVEL)
    begin = now - (SLICES - 1) * HOUR  # the hour that has begun, and those before it
    inside = [verdict for verdict, _, time in ended if time >= begin]
    assert counts.failed == inside.count(Verdict.FAILED)
    assert counts.late == inside.count(Verdict.LATE)
    assert counts.completed == len(inside) - counts.failed


@given(attempts, st.randoms(use_true_random=False), st.integers(0, 60))
def test_x4_order_and_batches_change_nothing(
    ended: list[Attempt], order: random.Random, cut: int
) -> None:
    now = NOON + 60 * HOUR
    at_once = window_of(ended, now)
    other = list(ended)
    order.shuffle(other)
    first = window_of(other[:cut], now)
    assert slo.merged([*first, *(slo.attempt(*each) for each in other[cut:])], now, LEVEL) == (
        at_once
    )


def test_x4_memory_is_constant_however_much_a_swarm_does() -> None:
    chance = random.Random(4)
    window: Window = ()
    sizes = []
    for hour in range(100):
        now = NOON + hour * HOUR
        slices = [
            slo.attempt(Verdict.MET, timedelta(seconds=chance.lognormvariate(3, 3)), now)
            for _ in range(200)
        ]
        window = slo.merged([*window, *slices], now, LEVEL)
        sizes.append(sum(len(each.model_dump_json()) for each in window))
    assert len(window) == SLICES
    assert max(sizes[30:]) < 1.2 * sizes[30]
    assert slo.total(window, NOON + 99 * HOUR, LEVEL).attempts < LEVEL.max_attempts + 200


def test_x4_a_swarm_that_does_much_is_judged_by_its_last_attempts() -> None:
    level = ServiceLevel(window=24 * HOUR, max_attempts=10)
    long_ago = [(Verdict.FAILED, HOUR, NOON)] * 50
    lately = [(Verdict.MET, HOUR, NOON + 3 * HOUR)] * 10
    window = window_of([*long_ago, *lately], NOON + 3 * HOUR, level)
    assert one(window, NOON + 3 * HOUR, ObjectiveKind.SUCCESS, level).attained == 1


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=200), st.floats(0.01, 1))
def test_x4_a_quantile_is_at_most_19_percent_too_long(seconds: list[float], share: float) -> None:
    ended = [(Verdict.MET, timedelta(seconds=each), NOON) for each in seconds]
    latencies = slo.total(window_of(ended, NOON), NOON, LEVEL).latencies
    found = slo.quantile(latencies, share)
    assert found is not None
    exact = sorted(seconds)[max(0, -int(-share * len(seconds) // 1) - 1)]
    assert exact - 1e-6 <= found.total_seconds() <= exact * 2**0.25 + 1e-6


def test_x4_the_error_budget_is_what_may_fail_and_the_burn_rate_how_fast_it_goes() -> None:
    level = ServiceLevel(success_rate=0.9, window=24 * HOUR)
    # Five failures of 100 over the day, all of them in the last hour, in which 10 ended.
    early = [(Verdict.MET, HOUR, NOON - 10 * HOUR)] * 90
    lately = [(Verdict.MET, HOUR, NOON)] * 5 + [(Verdict.FAILED, HOUR, NOON)] * 5
    found = one(window_of([*early, *lately], NOON, level), NOON, ObjectiveKind.SUCCESS, level)
    assert found.attained == pytest.approx(0.95)
    assert found.budget_left == pytest.approx(0.5)
    assert found.burn_rate == pytest.approx(5)
    assert found.met


def test_x4_a_budget_can_be_overspent_and_the_target_is_missed_then() -> None:
    found = one(window_of([(Verdict.FAILED, HOUR, NOON)], NOON), NOON, ObjectiveKind.SUCCESS)
    assert found.budget_left == pytest.approx(-19)
    assert not found.met


@pytest.mark.parametrize("bad", [0, 1, 7, 10, 11])
def test_x4_who_just_keeps_the_target_has_met_it(bad: int) -> None:
    level = ServiceLevel(success_rate=0.9)
    ended = [(Verdict.FAILED, HOUR, NOON)] * bad + [(Verdict.MET, HOUR, NOON)] * (100 - bad)
    found = one(window_of(ended, NOON, level), NOON, ObjectiveKind.SUCCESS, level)
    assert found.met is (bad <= 10)
    assert found.budget_left == 1 - bad / 10


def test_x4_of_nothing_everything_is_kept() -> None:
    for found in slo.objectives((), NOON, LEVEL):
        assert (found.attained, found.budget_left, found.burn_rate, found.met) == (1, 1, 0, True)


def test_x4_latency_counts_completed_attempts_alone() -> None:
    ended: list[Attempt] = [
        (Verdict.LATE, HOUR, NOON),
        (Verdict.MET, timedelta(minutes=1), NOON),
        (Verdict.FAILED, 2 * HOUR, NOON),
    ]
    found = one(window_of(ended, NOON), NOON, ObjectiveKind.LATENCY)
    assert (found.bad, found.total) == (1, 2)


@pytest.mark.parametrize("seconds", [1799.999, 1800.0, 1800.001])
def test_x4_late_is_longer_than_the_limit(seconds: float) -> None:
    assert slo.late(timedelta(seconds=seconds), LEVEL) is (seconds > 1800)
    assert not slo.late(timedelta(seconds=seconds), ServiceLevel(p99_latency=None))


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 20)), max_size=8))
def test_x4_availability_is_the_share_of_the_time_with_a_session(
    stretches: list[tuple[float, float]],
) -> None:
    """Sessions that follow each other, over two days; the last day counts."""
    window: Window = ()
    begin, up = NOON, []
    for away, here in stretches:
        opened = begin + away * HOUR / 4
        begin = opened + here * HOUR / 4
        window = slo.merged([*window, *slo.been_up(opened, begin, LEVEL)], begin, LEVEL)
        up.append((opened, begin))
    now = max(begin, NOON + 30 * HOUR)
    (found,) = [
        each
        for each in slo.objectives(window, now, LEVEL, watched_since=NOON)
        if each.kind is ObjectiveKind.AVAILABILITY
    ]
    day = now.replace(minute=0, second=0, microsecond=0) - (SLICES - 1) * HOUR
    first = max(day, NOON)
    inside = sum(
        (max(timedelta(0), end - max(opened, first)) for opened, end in up), start=timedelta(0)
    )
    assert found.total == pytest.approx((now - first).total_seconds())
    assert found.total - found.bad == pytest.approx(inside.total_seconds(), abs=1)


def test_x4_nothing_is_asked_of_a_swarm_that_never_had_a_session() -> None:
    kinds = {each.kind for each in slo.objectives((), NOON, LEVEL)}
    assert kinds == {ObjectiveKind.SUCCESS, ObjectiveKind.LATENCY}


def test_x4_an_objective_that_the_policy_does_not_set_is_not_reported() -> None:
    level = ServiceLevel(p99_latency=None, availability=None)
    found = slo.objectives((), NOON, level, watched_since=NOON)
    assert [each.kind for each in found] == [ObjectiveKind.SUCCESS]
