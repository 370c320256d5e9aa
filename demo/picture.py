"""What the fabric's streams have shown so far: pure state for the view and the supervisor."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from infrafabric.v1.status_pb2 import (
    STATUS_BLOCKED,
    STATUS_BUSY,
    STATUS_COMPLETED,
    STATUS_HELP,
    STATUS_IDLE,
    AgentStatus,
    Status,
)
from infrafabric.v1.task_pb2 import (
    TASK_STATE_AVAILABLE,
    TASK_STATE_CLAIMED,
    TASK_STATE_COMPLETED,
    Task,
    TaskState,
)

STATUS_WORDS: dict[Status.ValueType, str] = {
    STATUS_IDLE: "idle",
    STATUS_BUSY: "busy",
    STATUS_BLOCKED: "blocked",
    STATUS_COMPLETED: "completed",
    STATUS_HELP: "help",
}


@dataclass(frozen=True, slots=True)
class News:
    """Something worth telling; what is `routine` shows in the picture by itself."""

    text: str
    routine: bool = False


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session, as the view shows it.

    `waits` tells whether it is idle and ready for work, `task` what it works on.
    """

    swarm_id: str
    word: str
    waits: bool
    task: Task | None
    parked: Task | None
    done: int


class Picture:
    """Statuses and tasks, kept up to date by events; each event may be news for people.

    Args:
        swarm_ids: the sessions, in the order in which they are shown.
    """

    def __init__(self, swarm_ids: Iterable[str]) -> None:
        self.swarm_ids = tuple(swarm_ids)
        self.tasks: dict[str, Task] = {}
        self.statuses: dict[str, AgentStatus] = {}
        self.killed: set[str] = set()

    def see_task(self, task: Task) -> list[News]:
        """Take a task as it is now; return what is worth telling."""
        before = self.tasks.get(task.task_id, Task())
        self.tasks[task.task_id] = task
        return self._news(before, task)

    def see_status(self, status: AgentStatus) -> list[News]:
        """Take a status as it is now; return what is worth telling."""
        before = self.statuses.get(status.swarm_id)
        self.statuses[status.swarm_id] = status
        if before is None and status.swarm_id in self.swarm_ids:
            return [News(f"{status.swarm_id} is there", routine=True)]
        if status.status == STATUS_HELP and (before is None or before.status != STATUS_HELP):
            return [News(f"{status.swarm_id} asks for help: {status.message}")]
        return []

    def waits(self, swarm_id: str) -> bool:
        """Tell whether a swarm is idle and waits for work."""
        status = self.statuses.get(swarm_id)
        return status is not None and status.HasField("waiting_since_time")

    def holder(self, task_id: str) -> str:
        """Return who holds a task now; empty when nobody does."""
        task = self.tasks.get(task_id, Task())
        return task.owner_swarm_id if task.state == TASK_STATE_CLAIMED else ""

    def held_by(self, swarm_id: str) -> list[Task]:
        """Return the tasks that a swarm holds now, by id."""
        return [self.tasks[name] for name in sorted(self.tasks) if self.holder(name) == swarm_id]

    def done(self, task_id: str) -> Task | None:
        """Return a task if it is completed."""
        task = self.tasks.get(task_id)
        return task if task is not None and task.state == TASK_STATE_COMPLETED else None

    @property
    def states(self) -> Counter[TaskState.ValueType]:
        """How many tasks are in each state."""
        return Counter(task.state for task in self.tasks.values())

    @property
    def finished(self) -> bool:
        """Whether there are tasks, and all are completed."""
        return bool(self.tasks) and self.states[TASK_STATE_COMPLETED] == len(self.tasks)

    def row(self, swarm_id: str) -> SessionRow:
        """Return how a session is shown."""
        held = self.held_by(swarm_id)
        status = self.statuses.get(swarm_id)
        word = STATUS_WORDS.get(status.status, "") if status is not None else "starting"
        working = [task for task in held if not task.parked]
        parked = [task for task in held if task.parked]
        done = sum(
            task.state == TASK_STATE_COMPLETED and task.owner_swarm_id == swarm_id
            for task in self.tasks.values()
        )
        return SessionRow(
            swarm_id=swarm_id,
            word="killed" if swarm_id in self.killed else word,
            waits=self.waits(swarm_id),
            task=working[0] if working else None,
            parked=parked[0] if parked else None,
            done=done,
        )

    def _news(self, before: Task, task: Task) -> list[News]:
        name, who = task.task_id, task.owner_swarm_id
        if task.state == TASK_STATE_COMPLETED and before.state != TASK_STATE_COMPLETED:
            return [News(f"{name} done by {who}: {task.title}", routine=True)]
        if task.failures > before.failures:
            return [News(f"{before.owner_swarm_id} fails in {name}: {task.reason}")]
        if task.state == TASK_STATE_AVAILABLE and before.state == TASK_STATE_CLAIMED:
            return [News(f"{name} was taken from {before.owner_swarm_id}: its lease ran out")]
        if task.state != TASK_STATE_CLAIMED:
            return []
        if before.state != TASK_STATE_CLAIMED and task.attempt > 1:
            return [News(f"{name} passes to {who}, attempt {task.attempt}")]
        if before.state != TASK_STATE_CLAIMED and task.filler:
            own = [held.task_id for held in self.held_by(who) if held.parked]
            return [News(f"{who} does {name} while {own[0]} is blocked")] if own else []
        if task.parked != before.parked:
            return [News(f"{who} {'is blocked in' if task.parked else 'goes on with'} {name}")]
        return []
