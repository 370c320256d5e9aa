"""What opens a breaker and what closes it, as pure functions."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.governor.breaker import rules
from infrafabric_server.governor.breaker.models import Breaker, BreakerCause, Outcome
from infrafabric_server.governor.policy.models import Breaking

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
GRACE = timedelta(seconds=30)


def opened(breaker: Breaker | None = None, cause: BreakerCause = BreakerCause.MANUAL) -> Breaker:
    return rules.tripped(
        breaker or Breaker(swarm_id="s"), cause, "why", NOW, grace=GRACE, policy_hash="h"
    )


def after(outcomes: list[Outcome], breaker: Breaker | None = None) -> Breaker:
    return rules.counted(breaker or Breaker(swarm_id="s"), outcomes, NOW, HOUR)


def calls(number: int, *, failed: int = 0, slow: int = 0, ago: timedelta = HOUR / 2) -> Outcome:
    return Outcome(time=NOW - ago, calls=number, failed=failed, slow=slow)


def test_g6_the_failure_that_is_one_too_many_in_a_row_opens() -> None:
    settings = Breaking(max_consecutive_failures=3)
    breaker = Breaker(swarm_id="s")
    for task_id in "ab":
        breaker = rules.failed(breaker, task_id)
        assert rules.opening(breaker, settings) is None
    breaker = rules.failed(breaker, "c")
    assert rules.opening(breaker, settings) == (
        BreakerCause.FAILURES,
        "3 failures in a row, 3 open it",
    )


def test_g6_a_success_ends_the_row() -> None:
    breaker = Breaker(swarm_id="s")
    for task_id in "ab":
        breaker = rules.failed(breaker, task_id)
    breaker = rules.failed(rules.succeeded(breaker), "b")
    assert breaker.consecutive_failures == 1


def test_g6_a_task_that_fails_again_counts_once_in_the_row() -> None:
    breaker = Breaker(swarm_id="s")
    for task_id, row in (("a", 1), ("a", 1), ("b", 2), ("b", 2), ("a", 3)):
        breaker = rules.failed(breaker, task_id)
        assert breaker.consecutive_failures == row


def test_g6_no_row_of_failures_opens_where_the_policy_says_never() -> None:
    breaker = Breaker(swarm_id="s", consecutive_failures=1000)
    assert rules.opening(breaker, Breaking(max_consecutive_failures=None)) is None


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        (calls(10, failed=5), BreakerCause.FAILURE_RATE),
        (calls(9, failed=9), None),
        (calls(10, failed=4), None),
        (calls(10, slow=3), BreakerCause.SLOW),
        (calls(10, slow=2), None),
    ],
)
def test_g6_rates_open_from_a_number_of_calls_on(
    outcome: Outcome, found: BreakerCause | None
) -> None:
    settings = Breaking(min_calls=10, max_failure_rate=0.5, max_slow_rate=0.3)
    cause = rules.opening(after([outcome]), settings)
    assert (cause and cause[0]) == found


def test_g6_what_is_older_than_the_window_does_not_count() -> None:
    breaker = after([calls(10, failed=10, ago=2 * HOUR), calls(10)])
    assert rules.opening(breaker, Breaking(min_calls=10, max_consecutive_failures=100)) is None


@given(
    st.lists(
        st.tuples(st.integers(0, 7200), st.integers(1, 5), st.integers(0, 5)),
        max_size=200,
    )
)
def test_g6_the_window_is_bounded_and_counts_all_that_lies_in_it(
    seconds: list[tuple[int, int, int]],
) -> None:
    outcomes = [
        Outcome(time=NOW - timedelta(seconds=ago), calls=number, failed=min(number, bad))
        for ago, number, bad in seconds
    ]
    breaker = Breaker(swarm_id="s")
    for each in outcomes:
        breaker = after([each], breaker)
    assert len(breaker.window) <= 62
    inside = [each for each in outcomes if each.time > NOW - HOUR]
    # What has just left the window may count for another sixtieth of it.
    near = [each for each in outcomes if each.time > NOW - HOUR - HOUR / 60]
    for field in ("calls", "failed"):
        total = sum(getattr(each, field) for each in breaker.window)
        assert sum(getattr(each, field) for each in inside) <= total
        assert total <= sum(getattr(each, field) for each in near)


def test_g6_an_open_breaker_keeps_its_first_cause() -> None:
    breaker = opened()
    assert opened(breaker, BreakerCause.BUDGET) == breaker
    assert breaker.fence_time == NOW + GRACE


def test_g7_only_somebody_for_a_reason_closes() -> None:
    for approver, reason in (("", "safe"), ("ann", ""), (" ", "safe"), ("ann", "\t")):
        with pytest.raises(ValueError, match="by somebody"):
            rules.reset(opened(), approver, reason, NOW)
    closed = rules.reset(opened(), "ann", "safe", NOW)
    assert not closed.open
    assert (closed.approver, closed.reset_reason, closed.reset_time) == ("ann", "safe", NOW)
    assert closed.fence_time is None
    assert closed.cause is BreakerCause.MANUAL


events = st.one_of(
    st.builds(lambda name: lambda each: rules.failed(each, name), st.sampled_from("abc")),
    st.just(rules.succeeded),
    st.builds(
        lambda number, bad: lambda each: after([calls(number, failed=min(number, bad))], each),
        st.integers(1, 50),
        st.integers(0, 50),
    ),
    st.builds(lambda cause: lambda each: opened(each, cause), st.sampled_from(BreakerCause)),
)


@given(st.lists(events, max_size=30))
def test_g7_no_sequence_of_events_closes_an_open_breaker(following: list[object]) -> None:
    breaker = opened()
    for event in following:
        assert callable(event)
        breaker = event(breaker)
        assert breaker.open
        assert breaker.fence_time == NOW + GRACE


def test_g6_money_is_said_without_floats() -> None:
    assert rules.exhausted(10_000_000, 9_999_999) == ""
    assert rules.exhausted(10_000_000, 10_000_000) == "10.00 USD of 10.00 USD are spent"
    assert rules.exhausted(None, 10**12) == ""
    assert rules.overrun(5, 5) == ""
    assert rules.overrun(1_000_001, 1_000_000).startswith("an attempt cost 1.000001 USD")
