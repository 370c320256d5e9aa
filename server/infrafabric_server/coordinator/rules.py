"""The life of a task as pure functions: a task and an event in, the next task out.

    state      event                          next
    BLOCKED    every dependency completed     AVAILABLE
    AVAILABLE  claim                          CLAIMED, attempt + 1
    CLAIMED    take over                      CLAIMED, attempt + 1
    CLAIMED    release, lose                  AVAILABLE
    CLAIMED    fail                           AVAILABLE after a backoff, or FAILED
    CLAIMED    fail for the provider          AVAILABLE at once
    CLAIMED    complete                       COMPLETED
    not ended  deadline                       FAILED
    not ended  cancel                         CANCELLED

No function here reads a clock or does I/O. A caller's mistake is a FabricError.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from infrafabric_server.coordinator.models import (
    ClaimEnd,
    Dispatch,
    EndKind,
    FailureKind,
    LossKind,
    Milestone,
    Refusal,
    RetryPolicy,
    Task,
    TaskClaim,
    TaskSpec,
    TaskState,
)
from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.limits import MAX_MONEY_MICROS

MILESTONES = (0, 25, 50, 75, 100)

MAX_OPERATIONS = 8
"""Operations that a claim keeps apart; what it spends on further ones is added up."""

OTHER_OPERATIONS = "other"


def _next(task: Task, **changes: Any) -> Task:
    return task.model_copy(update=changes)


def create(spec: TaskSpec, dispatch: Dispatch, *, ready: bool) -> Task:
    """Return a new task: available if `ready` (nothing to wait for), else blocked."""
    state = TaskState.AVAILABLE if ready else TaskState.BLOCKED
    return Task(spec=spec, state=state, dispatch=dispatch)


def unblock(task: Task) -> Task:
    """Return the task as available once all its dependencies are completed."""
    return _next(task, state=TaskState.AVAILABLE)


def refusal(task: Task, swarm_id: str, now: datetime) -> Refusal | None:
    """Return why `swarm_id` cannot claim the task at `now`, or None if it can."""
    if task.state is TaskState.CLAIMED:
        return Refusal.ALREADY_CLAIMED
    if task.state is not TaskState.AVAILABLE:
        return Refusal.NOT_AVAILABLE
    if task.available_time is not None and task.available_time > now:
        return Refusal.NOT_AVAILABLE
    if task.offered_to not in ("", swarm_id):
        return Refusal.NOT_AVAILABLE
    return None


def claim(
    task: Task,
    swarm_id: str,
    now: datetime,
    *,
    ttl: timedelta | None,
    reserved_micros: int = 0,
    payer: str = "",
) -> Task:
    """Return the task held by `swarm_id` under the next attempt.

    `ttl` is the time to live of a claim made outside a session; None binds it to the
    session. It may spend `reserved_micros`, out of the share of the replica `payer`. The caller
    has checked `refusal`.
    """
    attempt = task.attempt + 1
    return _next(
        task,
        state=TaskState.CLAIMED,
        attempt=attempt,
        claim=TaskClaim(
            swarm_id=swarm_id,
            attempt=attempt,
            claim_time=now,
            progress_time=now,
            expire_time=None if ttl is None else now + ttl,
            reserved_micros=reserved_micros,
            payer=payer,
        ),
        last_owner=swarm_id,
        offered_to="",
        available_time=None,
    )


def holder_claim(task: Task, swarm_id: str, attempt: int) -> TaskClaim:
    """Return the claim that a message of `swarm_id` about `attempt` speaks of.

    Raises STALE_ATTEMPT when the attempt is not the current one, TASK_ENDED and
    TASK_NOT_CLAIMED when the state has no claim, NOT_OWNER when another swarm holds it.
    """
    if attempt != task.attempt:
        raise FabricError(
            Reason.STALE_ATTEMPT,
            f"attempt {attempt} of task {task.task_id} is stale: the current attempt is "
            f"{task.attempt}; stop working on it",
        )
    if task.state.ended:
        raise FabricError(
            Reason.TASK_ENDED, f"task {task.task_id} is {task.state}, which cannot change"
        )
    if task.claim is None:
        raise FabricError(
            Reason.TASK_NOT_CLAIMED,
            f"task {task.task_id} is {task.state} and held by nobody; claim it first",
        )
    if task.claim.swarm_id != swarm_id:
        raise FabricError(Reason.NOT_OWNER, f"task {task.task_id} is held by {task.claim.swarm_id}")
    return task.claim


def holds(task: Task, swarm_id: str, attempt: int) -> bool:
    """Tell whether a swarm holds the task under this very attempt."""
    held = task.claim
    return held is not None and held.swarm_id == swarm_id and held.attempt == attempt


def repeats(task: Task, swarm_id: str, attempt: int, kind: EndKind) -> bool:
    """Tell whether a call of `kind` repeats the one that ended this very claim."""
    return task.last_end == ClaimEnd(swarm_id=swarm_id, attempt=attempt, kind=kind)


def _end(task: Task, kind: EndKind, **changes: Any) -> Task:
    held = task.claim
    if held is None:
        raise ValueError(f"task {task.task_id} has no claim to end")
    end = ClaimEnd(swarm_id=held.swarm_id, attempt=held.attempt, kind=kind)
    return _next(task, claim=None, last_end=end, **changes)


def release(task: Task) -> Task:
    """Return the task available again by its holder's own word."""
    return _end(task, EndKind.RELEASED, state=TaskState.AVAILABLE)


def lose(task: Task, kind: LossKind) -> Task:
    """Return the task available again because it was taken from its holder; no failure."""
    return _next(task, state=TaskState.AVAILABLE, claim=None, last_loss=kind)


def take_over(task: Task, now: datetime) -> Task:
    """Return the task under the next attempt: a new process of the same swarm holds it.

    It may spend what the earlier one has left of the reservation.
    """
    held = task.claim
    if held is None:
        raise ValueError(f"task {task.task_id} has no claim to take over")
    attempt = task.attempt + 1
    renewed = held.model_copy(
        update={
            "attempt": attempt,
            "progress_time": now,
            "reserved_micros": held.left_micros,
            "drawn_micros": 0,
            "drawn_on": {},
        }
    )
    return _next(task, attempt=attempt, claim=renewed)


def draw(task: Task, operation: str, micros: int) -> Task:
    """Return the task after its holder spent money on it, within its reservation or beyond.

    Raises INVALID_FIELD when the attempt would cost more than an amount may be.
    """
    held = task.claim
    if held is None:
        raise ValueError(f"task {task.task_id} has no claim to draw on")
    drawn = held.drawn_micros + micros
    if drawn > MAX_MONEY_MICROS:
        rule = f"must bring the attempt to at most {MAX_MONEY_MICROS}"
        raise InvalidField(FieldViolation("cost_micros", rule))
    known = operation in held.drawn_on or len(held.drawn_on) < MAX_OPERATIONS
    name = operation if known else OTHER_OPERATIONS
    drawn_on = held.drawn_on | {name: held.drawn_on.get(name, 0) + micros}
    claim = held.model_copy(update={"drawn_micros": drawn, "drawn_on": drawn_on})
    return _next(task, claim=claim, spent_micros=task.spent_micros + micros)


def _renewed(held: TaskClaim, now: datetime, ttl: timedelta) -> TaskClaim:
    expire = None if held.expire_time is None else now + ttl
    return held.model_copy(update={"expire_time": expire})


def extend(task: Task, now: datetime, ttl: timedelta) -> Task:
    """Return the task with its claim's whole time to live again."""
    assert task.claim is not None
    return _next(task, claim=_renewed(task.claim, now, ttl))


def progress(task: Task, now: datetime, ttl: timedelta, said: Milestone) -> Task:
    """Return the task with a milestone reported and its claim extended."""
    assert task.claim is not None
    renewed = _renewed(task.claim, now, ttl).model_copy(update={"progress_time": now})
    return _next(
        task,
        claim=renewed,
        milestone_percent=said.percent,
        milestone_note=said.note,
        milestone_request=said.request_id,
        blocked_on=said.blocked_on,
        next_action=said.next_action,
    )


def repeats_milestone(task: Task, swarm_id: str, attempt: int, said: Milestone) -> bool:
    """Tell whether a milestone is the last one once more, by its request id and content.

    The claim that it is about is held, or was ended by its holder since.
    """
    end = task.last_end
    ended = end is not None and (end.swarm_id, end.attempt) == (swarm_id, attempt)
    last = Milestone(
        # A completion has put it to 100.
        percent=said.percent if task.state is TaskState.COMPLETED else task.milestone_percent,
        note=task.milestone_note,
        blocked_on=task.blocked_on,
        next_action=task.next_action,
        request_id=task.milestone_request,
    )
    return said.request_id != "" and said == last and (ended or holds(task, swarm_id, attempt))


def complete(task: Task, now: datetime, *, result_json: str, cost_micros: int) -> Task:
    """Return the task completed for good.

    `cost_micros` is what the attempt cost altogether; it is at least what was drawn already.
    """
    drawn = 0 if task.claim is None else task.claim.drawn_micros
    cost = max(cost_micros, drawn)
    return _end(
        task,
        EndKind.COMPLETED,
        state=TaskState.COMPLETED,
        result_json=result_json,
        cost_micros=cost,
        spent_micros=task.spent_micros + cost - drawn,
        milestone_percent=100,
        end_time=now,
    )


def backoff(policy: RetryPolicy, failures: int) -> timedelta:
    """Return the wait after the `failures`-th failure: initial * multiplier^(failures - 1).

    At most `max_backoff`; the growth stops there, so that large counts do not overflow.
    """
    wait = policy.initial_backoff.total_seconds()
    longest = policy.max_backoff.total_seconds()
    for _ in range(failures - 1):
        wait *= policy.multiplier
        if wait >= longest:
            break
    return timedelta(seconds=min(wait, longest))


def fail(
    task: Task, now: datetime, *, reason: str, kind: FailureKind, retry_time: datetime | None
) -> Task:
    """Return the task after its holder gave up: to be retried, or failed for good.

    A failure of the swarm's provider is not the task's: others may have it at once.
    """
    if kind.providers:
        return _end(task, EndKind.FAILED, state=TaskState.AVAILABLE, reason=reason)
    failures = task.failures + 1
    policy = task.spec.retry
    if kind is FailureKind.PERMANENT or failures >= policy.max_attempts:
        return _end(
            task,
            EndKind.FAILED,
            state=TaskState.FAILED,
            failures=failures,
            reason=reason,
            end_time=now,
        )
    again = now + backoff(policy, failures)
    if retry_time is not None:
        again = max(again, retry_time)
    return _end(
        task,
        EndKind.FAILED,
        state=TaskState.AVAILABLE,
        failures=failures,
        reason=reason,
        available_time=again,
    )


def expire(task: Task, now: datetime) -> Task:
    """Return the task failed because its deadline passed."""
    return _next(
        task,
        state=TaskState.FAILED,
        claim=None,
        offered_to="",
        reason="the deadline passed",
        end_time=now,
    )


def cancel(task: Task, now: datetime, reason: str) -> Task:
    """Return the task called off."""
    return _next(
        task,
        state=TaskState.CANCELLED,
        claim=None,
        offered_to="",
        reason=reason,
        end_time=now,
    )


def park(task: Task, *, parked: bool, now: datetime) -> Task:
    """Return the task with its claim parked, or taken up again from `now`."""
    assert task.claim is not None
    held = task.claim.model_copy(update={"parked": parked, "progress_time": now})
    return _next(task, claim=held)


def offer(task: Task, swarm_id: str) -> Task:
    """Return the task on offer to one swarm only; "" takes the offer back."""
    return _next(task, offered_to=swarm_id)


def broadcast(task: Task) -> Task:
    """Return the task on offer to every swarm that qualifies."""
    return _next(task, dispatch=Dispatch.BROADCAST, offered_to="")


class Due(StrEnum):
    """What happens to a task by itself."""

    DEADLINE = "deadline"
    EXPIRED = "claim_expired"
    NO_PROGRESS = "no_progress"
    AVAILABLE = "available"


def next_due(task: Task, now: datetime) -> tuple[datetime, Due] | None:
    """Return what happens to the task by itself next, and when; None if nothing does.

    A time that has passed is returned as it is, except that of a wait that is over.
    """
    if task.state.ended:
        return None
    moments: list[tuple[datetime, Due]] = []
    if task.spec.deadline is not None:
        moments.append((task.spec.deadline, Due.DEADLINE))
    if task.available_time is not None and task.available_time > now:
        moments.append((task.available_time, Due.AVAILABLE))
    held = task.claim
    if held is not None and held.expire_time is not None:
        moments.append((held.expire_time, Due.EXPIRED))
    if held is not None and task.spec.progress_timeout is not None and not held.parked:
        moments.append((held.progress_time + task.spec.progress_timeout, Due.NO_PROGRESS))
    return min(moments, default=None)


def on_offer(task: Task, now: datetime) -> bool:
    """Tell whether the task may be given to a swarm at `now`."""
    waiting = task.available_time is not None and task.available_time > now
    return task.state is TaskState.AVAILABLE and not waiting
