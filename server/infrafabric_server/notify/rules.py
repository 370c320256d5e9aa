"""The life of a status as pure functions: a status and what happened in, the next one out.

    what happened                  next status
    report IDLE                    IDLE; when it waits already, nothing changes
    report BUSY, BLOCKED, HELP     the same
    report COMPLETED               COMPLETED, then IDLE by itself
    claim                          BUSY
    completion                     COMPLETED, then resting by itself
    claim lost or given back       resting, if the swarm was busy because of a claim
    blocker reported               BLOCKED
    blocker over                   resting, if the swarm was blocked
    begins to help                 BUSY
    helps no more                  resting, if the swarm was busy because of that
    session opened                 resting, and waiting for work
    session lost                   resting, without waiting

Resting is what a swarm does by what it holds: BUSY with a task to work or help on, else BLOCKED
with an open blocker, else IDLE. No function here reads a clock or does I/O.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from infrafabric_server.coordinator.models import BlockerAlert
from infrafabric_server.fleet.models import AgentStatus, Status
from infrafabric_server.notify import totals
from infrafabric_server.notify.models import (
    Blocked,
    Claimed,
    Completed,
    Dropped,
    Helped,
    Helping,
    News,
    Situation,
    StatusReport,
    Unblocked,
)


def _next(before: AgentStatus, **changes: Any) -> AgentStatus:
    return before.model_copy(update=changes)


def _become(
    status: AgentStatus,
    kind: Status,
    time: datetime,
    *,
    last_task: str | None,
    message: str = "",
    declared: bool = False,
    waiting_since: datetime | None = None,
) -> AgentStatus:
    """Return the status as it is set at `time`; the same object if that says nothing new."""
    after = _next(
        status,
        status=kind,
        last_task=last_task,
        message=message,
        declared=declared,
        waiting_since=waiting_since,
    )
    return status if after == status else _next(after, status_time=time)


_TOTALS = (
    "cost_spent_micros",
    "tasks_completed",
    "reported_cost_micros",
    "reported_tasks",
    "unreported_cost_micros",
    "unreported_tasks",
    "counted_revision",
    "counted",
)


def initial(swarm_id: str, now: datetime, before: AgentStatus | None = None) -> AgentStatus:
    """Return the status of a swarm that has said nothing yet: idle, and waiting for nothing.

    Its totals go on from those of `before`, if it was known then.
    """
    status = AgentStatus(swarm_id=swarm_id, status=Status.IDLE, status_time=now)
    return status if before is None else _next(status, **{n: getattr(before, n) for n in _TOTALS})


def rest(
    status: AgentStatus, situation: Situation, now: datetime, *, heard: bool = False
) -> AgentStatus:
    """Return what the swarm does by what it holds.

    `heard` tells that the swarm was heard of just now, so that it waits when it is idle
    even without a session.
    """
    if situation.busy_with:
        named = status.last_task
        last_task = named if named in situation.busy_with else situation.busy_with[-1]
        return _become(status, Status.BUSY, now, last_task=last_task)
    if situation.blockers:
        alert = max(situation.blockers.values(), key=lambda alert: alert.update_time)
        return _blocked(status, alert, now)
    return _idle(status, now, waits=situation.takes_work or (heard and situation.session is None))


def _idle(status: AgentStatus, now: datetime, *, waits: bool) -> AgentStatus:
    since = (status.waiting_since or now) if waits else None
    return _become(status, Status.IDLE, now, last_task=status.last_task, waiting_since=since)


def _blocked(status: AgentStatus, alert: BlockerAlert, now: datetime) -> AgentStatus:
    named = alert.task_id or status.blocked_task or status.last_task
    return _become(
        status,
        Status.BLOCKED,
        now,
        last_task=named,
        message=alert.description,
        declared=not alert.task_id,
    )


def attend(status: AgentStatus, situation: Situation, now: datetime) -> AgentStatus:
    """Return the status once it takes account of whether a session is open.

    A session that replaces another changes nothing: the swarm only reconnected.
    """
    connected = situation.session is not None
    if connected == status.connected:
        return status
    noted = _next(status, connected=connected, waiting_since=None)
    return rest(noted, situation, now)


def settle(status: AgentStatus, situation: Situation, now: datetime) -> AgentStatus:
    """Return what follows COMPLETED by itself; any other status stays as it is."""
    if status.status is not Status.COMPLETED:
        return status
    if status.declared:
        return _idle(status, now, waits=situation.session is None or situation.takes_work)
    return rest(status, situation, now, heard=True)


def react(status: AgentStatus, news: News, situation: Situation, now: datetime) -> AgentStatus:
    """Return the status after something happened to the swarm's tasks or blockers."""
    match news:
        case Claimed(task_id) | Helping(task_id):
            return _become(status, Status.BUSY, now, last_task=task_id)
        case Completed():
            return _completed(status, news, now)
        case Dropped(own_word=own_word):
            return _dropped(status, situation, now, heard=own_word)
        case Helped():
            return _dropped(status, situation, now)
        case Blocked(alert):
            return _blocked(status, alert, now)
        case Unblocked(task_id):
            return _unblocked(status, task_id, situation, now)


def _dropped(
    status: AgentStatus, situation: Situation, now: datetime, *, heard: bool = False
) -> AgentStatus:
    if status.status is Status.BUSY and not status.declared:
        return rest(status, situation, now, heard=heard)
    return status


def _completed(status: AgentStatus, news: Completed, now: datetime) -> AgentStatus:
    if news.revision <= status.counted_revision or news.task_id in status.counted:
        return status
    cost = totals.complete(_cost(status), news.cost_micros)
    tasks = totals.complete(_tasks(status), 1)
    after = _become(status, Status.COMPLETED, now, last_task=news.task_id)
    counted = status.counted | {news.task_id: news.revision}
    return _next(_totalled(after, cost, tasks), counted=counted)


def count_settled(status: AgentStatus, revision: int) -> AgentStatus:
    """Return the status when all completions up to `revision` are counted, whoever wrote them."""
    counted = {task_id: each for task_id, each in status.counted.items() if each > revision}
    return _next(status, counted=counted, counted_revision=max(status.counted_revision, revision))


def _unblocked(
    status: AgentStatus, task_id: str, situation: Situation, now: datetime
) -> AgentStatus:
    if not task_id and status.blocked_task is not None:
        status = _next(status, blocked_task=None)
    returned = status.status is Status.IDLE and task_id in situation.working
    return rest(status, situation, now) if returned or status.status is Status.BLOCKED else status


def fold(
    status: AgentStatus, news: Iterable[News], situation: Situation, now: datetime
) -> AgentStatus:
    """Return the status after all that happened, oldest first.

    COMPLETED is left only by what happened after it; without that it stays, to be seen,
    and `settle` follows.
    """
    status = attend(status, situation, now)
    for item in news:
        status = react(status, item, situation, now)
    return status


def repaired(status: AgentStatus, situation: Situation, now: datetime) -> AgentStatus:
    """Return the status after a restart, brought to agree with what the swarm holds."""
    status = attend(status, situation, now)
    ended = status.status is Status.BUSY and not status.declared and not situation.busy_with
    over = status.status is Status.BLOCKED and not situation.blockers
    return rest(status, situation, now) if ended or over else status


def report(
    status: AgentStatus, said: StatusReport, situation: Situation, now: datetime
) -> AgentStatus:
    """Return the status after the swarm reported; the situation is that of the same moment."""
    if said.by_session or situation.session is None:
        cost = totals.report(_cost(status), said.cost_spent_micros)
        tasks = totals.report(_tasks(status), said.tasks_completed)
        status = _totalled(status, cost, tasks)
    last_task = status.last_task if said.last_task is None else said.last_task
    if said.status is Status.IDLE:
        return _reported_idle(status, said, last_task, situation, now)
    blocked_task = status.blocked_task
    match said.status:
        case Status.BUSY:
            declared = not _on_held(said.last_task, situation)
        case Status.BLOCKED:
            task_id, text = blocked_on(status, said, situation)
            if task_id not in situation.blockers:
                # Its blocker was opened before this, and is resolved already.
                return rest(status, situation, now, heard=True)
            last_task = task_id or text or last_task
            declared = not task_id
            blocked_task = blocked_task if task_id else text
        case _:
            declared = True
    return _become(
        _next(status, blocked_task=blocked_task),
        said.status,
        said.time or now,
        last_task=last_task,
        message=said.message,
        declared=declared,
    )


def _reported_idle(
    status: AgentStatus,
    said: StatusReport,
    last_task: str | None,
    situation: Situation,
    now: datetime,
) -> AgentStatus:
    if status.status is Status.IDLE and (
        status.waiting_since is not None or situation.session is not None
    ):
        return _next(status, last_task=last_task)
    waits = situation.session is None or situation.takes_work
    return _become(
        status,
        Status.IDLE,
        said.time or now,
        last_task=last_task,
        message=said.message,
        waiting_since=(said.waiting_since or now) if waits else None,
    )


def _on_held(named: str | None, situation: Situation) -> bool:
    if named is None:
        return bool(situation.busy_with)
    return named in situation.held or named in situation.helping


def blocked_on(
    status: AgentStatus, said: StatusReport, situation: Situation
) -> tuple[str, str | None]:
    """Return what a BLOCKED report is about: the id of a task that the swarm holds, or text.

    Unnamed, it is the held task that the status last named, or the only one held; without
    one, the text that the swarm was busy with or is blocked on already.
    """
    held = situation.held
    if said.last_task is not None:
        return (said.last_task, None) if said.last_task in held else ("", said.last_task)
    if status.last_task in held:
        return status.last_task, None
    if len(held) == 1:
        return held[0], None
    if "" in situation.blockers:
        return "", status.blocked_task
    return "", status.last_task if status.status is Status.BUSY else None


def resumed(status: AgentStatus, said: StatusReport, situation: Situation) -> list[str]:
    """Return which open blockers a report ends: ids of their tasks, "" for one without.

    BUSY on the blocked task ends its blocker, BUSY on anything else does not. Unnamed, it
    is on what the status last named. A blocker about free text ends with BUSY on, or
    COMPLETED of, the same text; one about nothing named ends with BUSY or COMPLETED, unless
    that is about a task that the swarm holds.
    """
    if said.status not in (Status.BUSY, Status.COMPLETED):
        return []
    named = said.last_task if said.last_task is not None else status.last_task
    ended = []
    for task_id in situation.blockers:
        if task_id:
            over = said.status is Status.BUSY and named == task_id
        elif status.blocked_task is not None:
            over = named == status.blocked_task
        else:
            over = not _on_held(said.last_task, situation)
        if over:
            ended.append(task_id)
    return ended


def _cost(status: AgentStatus) -> totals.Total:
    return totals.Total(
        status.cost_spent_micros, status.reported_cost_micros, status.unreported_cost_micros
    )


def _tasks(status: AgentStatus) -> totals.Total:
    return totals.Total(status.tasks_completed, status.reported_tasks, status.unreported_tasks)


def _totalled(status: AgentStatus, cost: totals.Total, tasks: totals.Total) -> AgentStatus:
    return _next(
        status,
        cost_spent_micros=cost.known,
        reported_cost_micros=cost.reported,
        unreported_cost_micros=cost.unreported,
        tasks_completed=tasks.known,
        reported_tasks=tasks.reported,
        unreported_tasks=tasks.unreported,
    )
