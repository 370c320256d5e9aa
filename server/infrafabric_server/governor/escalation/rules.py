"""What becomes of an escalation: opened, raised, acknowledged, closed, forgotten."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from infrafabric_server.governor.escalation.models import (
    MAX_LEVEL,
    Cause,
    Escalation,
    Operation,
    State,
)

# How long a closed one can still be read.
KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Step:
    """The next state of an escalation, None to forget it; and what happened."""

    escalation: Escalation | None
    operation: Operation | None


def decide(
    known: Escalation | None, cause: Cause | None, now: datetime, raise_after: timedelta
) -> Step | None:
    """Return what to do about an incident; None when it is as it should be.

    Whoever follows the steps comes to None, and comes to the same state when steps were late:
    an escalation is raised once for each `raise_after` that has passed.

    Args:
        known: the escalation as it is; None when there is none.
        cause: what causes it now; None when that is over.
        now: the time.
        raise_after: how long a level may last without acknowledgement.
    """
    if known is None or known.state is State.CLOSED:
        if cause is not None:
            return Step(_opened(known, cause, now), Operation.OPENED)
        if known is not None and known.close_time is not None and now >= known.close_time + KEPT:
            return Step(None, None)
        return None
    if cause is None:
        return Step(_changed(known, now, close_time=now), Operation.CLOSED)
    if cause.since != known.since:
        # It was over and began again before anybody looked.
        return Step(_opened(known, cause, now), Operation.OPENED)
    said = {"summary": cause.summary, "swarm_id": cause.swarm_id, "task_id": cause.task_id}
    rises = _rises(known, now, raise_after)
    if rises:
        raised = {
            "level": known.level + rises,
            "raise_time": known.raise_time + rises * raise_after,
        }
        return Step(_changed(known, now, **said, **raised), Operation.RAISED)
    if any(getattr(known, name) != value for name, value in said.items()):
        return Step(_changed(known, now, **said), Operation.UPDATED)
    return None


def acknowledge(known: Escalation, by: str, note: str, now: datetime) -> Step | None:
    """Return the acknowledged escalation; None when it is closed, or already as said."""
    if known.state is State.CLOSED or (known.acknowledged_by, known.acknowledgement) == (by, note):
        return None
    changed = _changed(known, now, acknowledged_by=by, acknowledgement=note)
    return Step(changed, Operation.ACKNOWLEDGED)


def undelivered(known: Escalation, hook: str, now: datetime) -> Step | None:
    """Return the escalation with a webhook that did not take it; None when that is known."""
    if hook in known.dead_letters:
        return None
    letters = tuple(sorted({*known.dead_letters, hook}))
    return Step(_changed(known, now, dead_letters=letters), Operation.UNDELIVERED)


def next_time(escalation: Escalation, raise_after: timedelta) -> datetime | None:
    """Return when `decide` has something to do though nothing changes; None when never."""
    if escalation.close_time is not None:
        return escalation.close_time + KEPT
    if escalation.state is State.OPEN and escalation.level < MAX_LEVEL:
        return escalation.raise_time + raise_after
    return None


def to_forget(escalations: Iterable[Escalation], count: int) -> list[Escalation]:
    """Return those that make room for others: at most `count`, closed, the oldest first."""
    closed = [(each.close_time, each) for each in escalations if each.close_time is not None]
    closed.sort(key=lambda pair: (pair[0], pair[1].escalation_id))
    return [each for _, each in closed[:count]]


def _rises(known: Escalation, now: datetime, raise_after: timedelta) -> int:
    if known.state is not State.OPEN:
        return 0
    passed = max(0, (now - known.raise_time) // raise_after)
    return min(passed, MAX_LEVEL - known.level)


def _opened(known: Escalation | None, cause: Cause, now: datetime) -> Escalation:
    return Escalation(
        escalation_id=cause.escalation_id,
        kind=cause.kind,
        swarm_id=cause.swarm_id,
        task_id=cause.task_id,
        summary=cause.summary,
        since=cause.since,
        updates=1 if known is None else known.updates + 1,
        create_time=now,
        update_time=now,
        raise_time=now,
    )


def _changed(known: Escalation, now: datetime, **update: object) -> Escalation:
    return known.model_copy(update={**update, "updates": known.updates + 1, "update_time": now})
