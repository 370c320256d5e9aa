"""Status reports, their answers, and what statuses are decided from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from infrafabric_server.coordinator.models import BlockerAlert, Money
from infrafabric_server.fleet.models import AgentStatus, SessionRole, Status
from infrafabric_server.limits import Capabilities, Identifier, Label, Text

# A running total stays below what a 64-bit counter holds after a million restarts.
MAX_COUNT = 10**12

# Statuses that change or are listed together, which a watcher gets in one message of at most
# 4 MiB: a status with the longest texts, in the longest characters, has 26 KiB.
MAX_TOGETHER = 128


def _in_utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be between the years 1 and 9999 in UTC") from None


UtcTime = Annotated[datetime, AfterValidator(_in_utc)]


class StatusReport(BaseModel):
    """What a swarm says of itself.

    `last_task` is the task that the status is about, an id or free text; None says
    nothing about it. Empty `capabilities` and totals of 0 say nothing either. `needs` are
    capabilities that would help. `time` and `waiting_since` are the reporter's own times;
    one without a zone is UTC, None means now. `by_session` tells that the report came
    down the swarm's session: only then do its totals count while a session is open.
    """

    model_config = ConfigDict(frozen=True)

    swarm_id: Identifier
    status: Status
    last_task: Label | None = None
    message: Text = ""
    capabilities: Capabilities = frozenset()
    needs: Capabilities = frozenset()
    cost_spent_micros: Money = 0
    tasks_completed: Annotated[int, Field(ge=0, le=MAX_COUNT)] = 0
    time: UtcTime | None = None
    waiting_since: UtcTime | None = None
    by_session: bool = False


@dataclass(frozen=True, slots=True)
class Helper:
    """An idle swarm that could help: the share of the needs it covers, and which ones."""

    swarm_id: str
    coverage: float
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Notified:
    """The answer to a status report.

    `queue_position` counts from 1 and is 0 outside the idle queue; `helpers` answers HELP,
    best first; `escalated` tells that BLOCKED was recorded for the orchestrator.
    """

    queue_position: int = 0
    helpers: tuple[Helper, ...] = ()
    escalated: bool = False


@dataclass(frozen=True, slots=True)
class Agent:
    """A swarm as others see it: its status, what it can do, its place in the idle queue."""

    status: AgentStatus
    capabilities: frozenset[str]
    queue_position: int


@dataclass(frozen=True, slots=True)
class Situation:
    """What the fabric holds about a swarm, apart from its status.

    `session` is the role of its open session, None without one. `working` are the tasks
    that it holds and works on, in the order of their claims, `parked` those that wait for
    a blocker. `helping` are the tasks of others that it helps with, in the order in which it
    accepted. `blockers` are its open ones by task id, "" for one without a task.
    """

    session: SessionRole | None = None
    working: tuple[str, ...] = ()
    parked: tuple[str, ...] = ()
    helping: tuple[str, ...] = ()
    blockers: Mapping[str, BlockerAlert] = field(default_factory=dict)

    @property
    def held(self) -> tuple[str, ...]:
        """All tasks that the swarm holds."""
        return self.working + self.parked

    @property
    def busy_with(self) -> tuple[str, ...]:
        """The tasks that it works on, its own ones last: they count for more."""
        return self.helping + self.working

    @property
    def takes_work(self) -> bool:
        """Whether work can reach it now, so that it waits when it is idle."""
        return self.session is SessionRole.WORKER


@dataclass(frozen=True, slots=True)
class Claimed:
    """The swarm holds a task that it did not hold before."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The swarm completed a task, in the change that made `revision`."""

    task_id: str
    cost_micros: int
    revision: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A claim ended otherwise; `own_word` tells that the swarm itself ended it."""

    task_id: str
    own_word: bool


@dataclass(frozen=True, slots=True)
class Blocked:
    """An incident of the swarm was reported."""

    alert: BlockerAlert


@dataclass(frozen=True, slots=True)
class Unblocked:
    """An incident of the swarm is over; `task_id` is "" for one without a task."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Helping:
    """The swarm helps with a task of another one."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Helped:
    """It helps with it no more."""

    task_id: str


News = Claimed | Completed | Dropped | Blocked | Unblocked | Helping | Helped
