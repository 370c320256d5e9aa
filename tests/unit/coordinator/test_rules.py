"""The life of a task: every event in every state, and what holds over whole lives."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.models import (
    Dispatch,
    EndKind,
    FailureKind,
    LossKind,
    Milestone,
    Refusal,
    RetryPolicy,
    Task,
    TaskSpec,
    TaskState,
)
from infrafabric_server.errors import FabricError, Reason

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TTL = timedelta(minutes=5)


def a_task(state: TaskState, retry: RetryPolicy | None = None) -> Task:
    spec = TaskSpec(task_id="t", create_time=NOW, retry=retry or RetryPolicy())
    task = rules.create(spec, Dispatch.AUTO, ready=state is not TaskState.BLOCKED)
    if state in (TaskState.BLOCKED, TaskState.AVAILABLE):
        return task
    task = rules.claim(task, "owner", NOW, ttl=TTL)
    if state is TaskState.COMPLETED:
        return rules.complete(task, NOW, result_json="{}", cost_micros=1)
    if state is TaskState.FAILED:
        return rules.fail(task, NOW, reason="broken", kind=FailureKind.PERMANENT, retry_time=None)
    if state is TaskState.CANCELLED:
        return rules.cancel(task, NOW, "not needed")
    return task


@pytest.mark.parametrize("state", TaskState)
def test_c1_only_an_available_task_can_be_claimed(state: TaskState) -> None:
    refusal = rules.refusal(a_task(state), "other", NOW)
    expected = {
        TaskState.AVAILABLE: None,
        TaskState.CLAIMED: Refusal.ALREADY_CLAIMED,
    }.get(state, Refusal.NOT_AVAILABLE)
    assert refusal is expected


def test_c1_a_claim_starts_the_next_attempt_and_names_the_owner() -> None:
    claimed = rules.claim(a_task(TaskState.AVAILABLE), "owner", NOW, ttl=None)
    assert claimed.claim is not None
    assert (claimed.state, claimed.attempt) == (TaskState.CLAIMED, 1)
    assert (claimed.claim.swarm_id, claimed.claim.attempt) == ("owner", 1)
    assert claimed.claim.expire_time is None


def test_c5_a_pushed_task_is_for_one_swarm_only() -> None:
    offered = rules.offer(a_task(TaskState.AVAILABLE), "wanted")
    assert rules.refusal(offered, "wanted", NOW) is None
    assert rules.refusal(offered, "other", NOW) is Refusal.NOT_AVAILABLE


@pytest.mark.parametrize(
    ("state", "swarm_id", "attempt", "reason"),
    [
        (TaskState.BLOCKED, "owner", 1, Reason.STALE_ATTEMPT),
        (TaskState.AVAILABLE, "owner", 1, Reason.STALE_ATTEMPT),
        (TaskState.AVAILABLE, "owner", 0, Reason.TASK_NOT_CLAIMED),
        (TaskState.CLAIMED, "owner", 2, Reason.STALE_ATTEMPT),
        (TaskState.CLAIMED, "other", 1, Reason.NOT_OWNER),
        (TaskState.CLAIMED, "owner", 1, None),
        (TaskState.COMPLETED, "owner", 1, Reason.TASK_ENDED),
        (TaskState.FAILED, "owner", 1, Reason.TASK_ENDED),
        (TaskState.CANCELLED, "owner", 1, Reason.TASK_ENDED),
        (TaskState.COMPLETED, "owner", 9, Reason.STALE_ATTEMPT),
    ],
)
def test_c10_a_message_about_a_claim_is_refused_with_its_own_reason(
    state: TaskState, swarm_id: str, attempt: int, reason: Reason | None
) -> None:
    task = a_task(state)
    if reason is None:
        assert rules.holder_claim(task, swarm_id, attempt) == task.claim
        return
    with pytest.raises(FabricError) as refused:
        rules.holder_claim(task, swarm_id, attempt)
    assert refused.value.reason is reason


def test_c10_after_a_return_the_old_attempt_is_refused_by_the_state() -> None:
    returned = rules.lose(a_task(TaskState.CLAIMED), LossKind.SESSION_LOST)
    with pytest.raises(FabricError) as refused:
        rules.holder_claim(returned, "owner", 1)
    assert refused.value.reason is Reason.TASK_NOT_CLAIMED
    again = rules.claim(returned, "next", NOW, ttl=None)
    assert again.attempt == 2
    with pytest.raises(FabricError) as stale:
        rules.holder_claim(again, "owner", 1)
    assert stale.value.reason is Reason.STALE_ATTEMPT


def test_c10_a_lost_claim_is_no_failure_of_the_task() -> None:
    assert rules.lose(a_task(TaskState.CLAIMED), LossKind.SESSION_LOST).failures == 0


def test_c10_a_takeover_keeps_the_owner_and_raises_the_attempt() -> None:
    taken = rules.take_over(a_task(TaskState.CLAIMED), NOW)
    assert taken.claim is not None
    assert (taken.claim.swarm_id, taken.attempt, taken.claim.attempt) == ("owner", 2, 2)


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        (EndKind.COMPLETED, lambda t: rules.complete(t, NOW, result_json="", cost_micros=0)),
        (EndKind.RELEASED, rules.release),
        (
            EndKind.FAILED,
            lambda t: rules.fail(t, NOW, reason="", kind=FailureKind.RETRYABLE, retry_time=None),
        ),
    ],
)
def test_c11_a_repeat_of_the_call_that_ended_a_claim_is_recognised(
    kind: EndKind, end: Callable[[Task], Task]
) -> None:
    ended = end(a_task(TaskState.CLAIMED))
    assert rules.repeats(ended, "owner", 1, kind)
    assert not rules.repeats(ended, "owner", 2, kind)
    assert not rules.repeats(ended, "other", 1, kind)
    assert sum(rules.repeats(ended, "owner", 1, other) for other in EndKind) == 1


def test_c11_failures_wait_longer_and_longer_and_then_end_the_task() -> None:
    policy = RetryPolicy(max_attempts=3, initial_backoff=timedelta(seconds=2))
    task = a_task(TaskState.AVAILABLE, policy)
    waits = []
    for _ in range(2):
        task = rules.fail(
            rules.claim(task, "owner", NOW, ttl=None),
            NOW,
            reason="broken",
            kind=FailureKind.RETRYABLE,
            retry_time=None,
        )
        assert task.available_time is not None
        waits.append((task.available_time - NOW).total_seconds())
        assert rules.refusal(task, "owner", NOW) is Refusal.NOT_AVAILABLE
        assert rules.refusal(task, "owner", task.available_time) is None
    assert waits == [2, 4]
    last = rules.fail(
        rules.claim(task, "owner", NOW, ttl=None),
        NOW,
        reason="broken",
        kind=FailureKind.RETRYABLE,
        retry_time=None,
    )
    assert (last.state, last.failures, last.reason) == (TaskState.FAILED, 3, "broken")


def test_c11_a_retry_time_can_only_lengthen_the_wait() -> None:
    claimed = a_task(TaskState.CLAIMED)
    later = NOW + timedelta(hours=1)
    waits = {}
    for moment in (later, NOW - timedelta(hours=1)):
        waits[moment] = rules.fail(
            claimed, NOW, reason="", kind=FailureKind.RETRYABLE, retry_time=moment
        ).available_time
    assert waits[later] == later
    assert waits[NOW - timedelta(hours=1)] == NOW + timedelta(seconds=1)


@given(
    initial=st.integers(0, 86_400),
    longest=st.integers(0, 86_400),
    multiplier=st.floats(1, 10),
    failures=st.integers(1, 10_000),
)
def test_c11_a_backoff_never_shrinks_and_never_passes_its_bound(
    initial: int, longest: int, multiplier: float, failures: int
) -> None:
    policy = RetryPolicy(
        initial_backoff=timedelta(seconds=initial),
        max_backoff=timedelta(seconds=longest),
        multiplier=multiplier,
    )
    wait = rules.backoff(policy, failures)
    assert timedelta(0) <= wait <= policy.max_backoff
    assert wait <= rules.backoff(policy, failures + 1)


@pytest.mark.parametrize("state", [s for s in TaskState if not s.ended])
def test_c11_cancel_and_deadline_end_whatever_has_not_ended(state: TaskState) -> None:
    for ended in (rules.cancel(a_task(state), NOW, "why"), rules.expire(a_task(state), NOW)):
        assert ended.state.ended
        assert ended.claim is None
        assert ended.end_time == NOW


def test_c9_a_parked_claim_stops_the_clock_of_progress() -> None:
    spec = TaskSpec(task_id="t", create_time=NOW, progress_timeout=timedelta(seconds=10))
    task = rules.claim(rules.create(spec, Dispatch.AUTO, ready=True), "owner", NOW, ttl=None)
    assert rules.next_due(task, NOW) == (NOW + timedelta(seconds=10), rules.Due.NO_PROGRESS)
    parked = rules.park(task, parked=True, now=NOW)
    assert rules.next_due(parked, NOW) is None
    later = NOW + timedelta(hours=1)
    returned = rules.park(parked, parked=False, now=later)
    assert rules.next_due(returned, later) == (
        later + timedelta(seconds=10),
        rules.Due.NO_PROGRESS,
    )


def test_c8_progress_is_kept_and_extends_a_claim_with_a_time_to_live() -> None:
    later = NOW + timedelta(minutes=4)
    said = Milestone(percent=50, note="half", blocked_on=("review",), next_action="test")
    task = rules.progress(a_task(TaskState.CLAIMED), later, TTL, said)
    assert task.claim is not None
    assert (task.milestone_percent, task.milestone_note) == (50, "half")
    assert (task.blocked_on, task.next_action) == (("review",), "test")
    assert task.claim.expire_time == later + TTL
