"""Tasks, claims and blockers, as they are stored."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from infrafabric_server.governor.models import Violation
from infrafabric_server.limits import (
    MAX_DEPENDENCIES,
    MAX_LABEL,
    MAX_MODEL,
    MAX_MONEY_MICROS,
    MAX_PAYLOAD_BYTES,
    MAX_TEXT,
    Capabilities,
    Identifier,
    Label,
    Text,
)

_FROZEN = ConfigDict(frozen=True)
_DAY = timedelta(days=1)
_MONTH = timedelta(days=30)

Money = Annotated[int, Field(ge=0, le=MAX_MONEY_MICROS)]
Payload = Annotated[str, Field(max_length=MAX_PAYLOAD_BYTES)]


class TaskState(StrEnum):
    """Where a task is in its life; the transitions are in `rules`."""

    BLOCKED = "blocked"
    AVAILABLE = "available"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether the task stays as it is."""
        return self in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED)


class Dispatch(StrEnum):
    """How a task finds its swarm."""

    AUTO = "auto"
    BROADCAST = "broadcast"
    MANUAL = "manual"


class FailureKind(StrEnum):
    """What sort of failure ended an attempt."""

    RETRYABLE = "retryable"
    PERMANENT = "permanent"
    PROVIDER_QUOTA = "provider_quota"
    PROVIDER_RATE = "provider_rate"

    @property
    def providers(self) -> bool:
        """Whether it is the swarm's provider that failed, and not the swarm."""
        return self in (FailureKind.PROVIDER_QUOTA, FailureKind.PROVIDER_RATE)


class RetryPolicy(BaseModel):
    """What follows a failure: the n-th waits `initial * multiplier^(n-1)`, at most `max`."""

    model_config = _FROZEN

    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    initial_backoff: Annotated[timedelta, Field(ge=timedelta(0), le=_DAY)] = timedelta(seconds=1)
    max_backoff: Annotated[timedelta, Field(ge=timedelta(0), le=_DAY)] = timedelta(minutes=5)
    multiplier: Annotated[float, Field(ge=1, le=10)] = 2.0


class TaskSpec(BaseModel):
    """What the creator of a task said; it never changes.

    `input_json` is the JSON text of an object, kept as it came so that it is parsed by
    nobody but the worker. `position` is the task's place on its board. `chassis_swarm_id` is the
    swarm whose module does it, "" for agents.
    """

    model_config = _FROZEN

    task_id: Identifier
    title: Annotated[str, Field(max_length=MAX_LABEL)] = ""
    input_json: Payload = "{}"
    required_capabilities: Capabilities = frozenset()
    max_cost_micros: Money | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    dependencies: Annotated[tuple[Identifier, ...], Field(max_length=MAX_DEPENDENCIES)] = ()
    filler: bool = False
    estimated_duration: Annotated[timedelta, Field(ge=timedelta(0), le=_MONTH)] | None = None
    preferred_model: Annotated[str, Field(max_length=MAX_MODEL)] = ""
    deadline: datetime | None = None
    progress_timeout: Annotated[timedelta, Field(ge=timedelta(seconds=1), le=_MONTH)] | None = None
    retry: RetryPolicy = RetryPolicy()
    chassis_swarm_id: Identifier | Literal[""] = ""
    create_time: datetime
    position: int = 0


class TaskClaim(BaseModel):
    """Who holds a task, since when and how.

    `expire_time` is set for a claim made outside a session; a claim without it lives as
    long as the swarm's session. A parked claim takes no slot. `reserved_micros` is what it may
    spend, `drawn_micros` what it has reported so far, `drawn_on` that by operation: what a swarm
    has reserved is what its claims may still spend, so that no reservation outlives its claim.
    """

    model_config = _FROZEN

    swarm_id: Identifier
    attempt: Annotated[int, Field(ge=1)]
    claim_time: datetime
    progress_time: datetime
    expire_time: datetime | None = None
    parked: bool = False
    reserved_micros: Money = 0
    payer: str = ""
    drawn_micros: Money = 0
    drawn_on: dict[str, int] = {}

    @property
    def left_micros(self) -> int:
        """What of the reservation may still be spent."""
        return max(0, self.reserved_micros - self.drawn_micros)


class EndKind(StrEnum):
    """How a claim ended by its holder's own word."""

    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"


class LossKind(StrEnum):
    """Why a claim was taken from its holder."""

    SESSION_LOST = "session_lost"
    SESSION_CLOSED = "session_closed"
    DEREGISTERED = "deregistered"
    EXPIRED = "claim_expired"
    NO_PROGRESS = "no_progress"
    NOT_ACKNOWLEDGED = "not_acknowledged"
    DECLINED = "declined"
    HALTED = "halted"
    DRAINED = "drained"


class ClaimEnd(BaseModel):
    """The last claim that its holder ended, so that a repeat of that call is recognised."""

    model_config = _FROZEN

    swarm_id: Identifier
    attempt: int
    kind: EndKind


class Milestone(BaseModel):
    """What a holder reports of its progress; the request id may be empty."""

    model_config = _FROZEN

    percent: int
    note: Text = ""
    blocked_on: tuple[Label, ...] = ()
    next_action: Text = ""
    request_id: str = ""


class Task(BaseModel):
    """A task; stored under `tasks/<task_id>`.

    `milestone_request` is the request id of the last milestone, so that a repeat of it is
    recognised.
    """

    model_config = _FROZEN

    spec: TaskSpec
    state: TaskState
    dispatch: Dispatch = Dispatch.AUTO
    attempt: int = 0
    claim: TaskClaim | None = None
    last_end: ClaimEnd | None = None
    last_owner: str = ""
    last_loss: LossKind | None = None
    offered_to: str = ""
    available_time: datetime | None = None
    failures: int = 0
    reason: Text = ""
    milestone_percent: int = 0
    milestone_note: Text = ""
    milestone_request: str = ""
    blocked_on: tuple[Label, ...] = ()
    next_action: Text = ""
    result_json: Payload = ""
    cost_micros: Money = 0
    spent_micros: int = 0
    budget_limit_micros: Money | None = None
    end_time: datetime | None = None

    @property
    def task_id(self) -> str:
        """Id of the task."""
        return self.spec.task_id

    @property
    def assigned(self) -> bool:
        """Whether it is assigned to a session, once it is available: not if the chassis runs it."""
        return self.dispatch is Dispatch.AUTO and not self.spec.chassis_swarm_id

    @property
    def runs_in_chassis(self) -> bool:
        """Whether the fabric itself runs it, once it is available."""
        chosen = self.spec.chassis_swarm_id and not self.offered_to
        return bool(chosen) and self.dispatch is Dispatch.AUTO


class Refusal(StrEnum):
    """Why a claim was not won."""

    TASK_NOT_FOUND = "task_not_found"
    ALREADY_CLAIMED = "already_claimed"
    NOT_AVAILABLE = "not_available"
    LOST_RACE = "lost_race"
    SWARM_UNKNOWN = "swarm_unknown"
    NO_SLOT = "no_slot"
    BUDGET = "budget"
    BREAKER_OPEN = "breaker_open"
    POLICY = "policy"
    HOLD = "hold"


class ClaimOutcome(BaseModel):
    """How a claim ended; `refusal` is None when it was won, `detail` has its numbers.

    `violation` is of the rule of the policy that denied it.
    """

    model_config = _FROZEN

    refusal: Refusal | None
    detail: str = ""
    owner: str = ""
    task: Task | None = None
    violation: Violation | None = None

    @property
    def claimed(self) -> bool:
        """Whether the claimant holds the task now."""
        return self.refusal is None


class BlockerAlert(BaseModel):
    """One incident that keeps a swarm from going on.

    Stored under `blockers/<swarm_id>/<task_id or ->`: one open incident for each pair.
    `request_id` is that of the last report, so that a repeat of it is recognised. `help_id` is the
    request for help that was made for it, "" for none.
    """

    model_config = _FROZEN

    blocker_id: str
    swarm_id: Identifier
    task_id: str = ""
    attempt: int = 0
    description: Text
    needs: Capabilities = frozenset()
    create_time: datetime
    update_time: datetime
    escalations: int = 0
    request_id: str = ""
    resolve_time: datetime | None = None
    resolution: Text = ""
    help_id: str = ""

    @property
    def open(self) -> bool:
        """Whether the incident still lasts."""
        return self.resolve_time is None


class TaskBroadcast(BaseModel):
    """A task on offer to every qualified swarm, and how many had a session at that moment."""

    model_config = _FROZEN

    task: Task
    offered: int


class BlockerReport(BaseModel):
    """What a swarm says when it cannot go on; attempt 0 without a task."""

    model_config = _FROZEN

    task_id: Identifier | Literal[""] = ""
    attempt: Annotated[int, Field(ge=0)] = 0
    description: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    needs: Capabilities = frozenset()
    request_id: Annotated[str, Field(max_length=MAX_MODEL)] = ""


class RequestRecord(BaseModel):
    """The answer to a creating call; stored under `requests/<request_id>` for 24 hours."""

    model_config = _FROZEN

    digest: str
    task_ids: tuple[str, ...] = ()
    sessions: int = 0
    time: datetime
