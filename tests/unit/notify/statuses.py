"""Statuses, reports and situations for the tests of the rules."""

from datetime import UTC, datetime, timedelta
from typing import Any

from infrafabric_server.coordinator.models import BlockerAlert
from infrafabric_server.fleet.models import AgentStatus, SessionRole, Status
from infrafabric_server.notify.models import Situation, StatusReport

START = datetime(2025, 11, 12, 10, tzinfo=UTC)
NOW = START + timedelta(minutes=5)
WORKER = SessionRole.WORKER
ALONE = Situation()


def status(kind: Status = Status.IDLE, **fields: Any) -> AgentStatus:
    if kind is Status.IDLE:
        fields.setdefault("waiting_since", START)
    return AgentStatus(swarm_id="s", status=kind, status_time=START, **fields)


def said(kind: Status, **fields: Any) -> StatusReport:
    return StatusReport(swarm_id="s", status=kind, **fields)


def alert(task_id: str = "", description: str = "no network", minute: int = 0) -> BlockerAlert:
    time = START + timedelta(minutes=minute)
    return BlockerAlert(
        blocker_id=f"s/{task_id or '-'}",
        swarm_id="s",
        task_id=task_id,
        description=description,
        create_time=time,
        update_time=time,
    )


def stuck(*task_ids: str, **fields: Any) -> Situation:
    return Situation(blockers={task_id: alert(task_id) for task_id in task_ids}, **fields)


SITUATIONS = {
    "alone": ALONE,
    "session": Situation(session=WORKER),
    "orchestrator": Situation(session=SessionRole.ORCHESTRATOR),
    "working": Situation(session=WORKER, working=("t1",)),
    "parked": stuck("t1", session=WORKER, parked=("t1",)),
    "filler": stuck("t1", session=WORKER, parked=("t1",), working=("f1",)),
    "claimed by hand": Situation(working=("t1",)),
}
