"""What the fabric says to a session, as values without a wire format."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Protocol

from infrafabric_server.coordinator.models import BlockerAlert, ClaimOutcome, Task
from infrafabric_server.fleet.models import Broadcast
from infrafabric_server.governor.breaker.models import Breaker
from infrafabric_server.governor.help.models import HelpRequest


class Delivery(Enum):
    """Why a task is sent."""

    OFFERED = auto()
    ASSIGNED = auto()
    RETURNED = auto()


class RevokeReason(Enum):
    """Why a claim was ended from outside."""

    CANCELLED = auto()
    DEADLINE = auto()
    NO_PROGRESS = auto()
    NOT_ACKNOWLEDGED = auto()
    EXPIRED = auto()
    ENDED_ELSEWHERE = auto()
    HALTED = auto()


class ClosingAction(StrEnum):
    """What a client does after the end of its stream."""

    RESUME = "resume"
    RESTART = "restart"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Holding:
    """One claim of a swarm."""

    task_id: str
    attempt: int
    parked: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """The welcome of a session; `lease` is in seconds."""

    epoch: int
    resume_token: str
    lease: float
    resumed: bool
    owned: tuple[Holding, ...]
    offered: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskFrame:
    """A task for the swarm."""

    task: Task
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Revoked:
    """A claim that ended without the swarm's doing."""

    task_id: str
    attempt: int
    reason: RevokeReason
    detail: str


@dataclass(frozen=True, slots=True)
class Said:
    """A text for everyone; `revision` is that of its record, by which it is found again."""

    broadcast: Broadcast
    revision: int


@dataclass(frozen=True, slots=True)
class Alert:
    """An incident for the orchestrator."""

    blocker: BlockerAlert


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop all work: a breaker is open; what is left is taken away after `grace` seconds."""

    breaker: Breaker
    grace: float


@dataclass(frozen=True, slots=True)
class HelpWanted:
    """How a request for help stands that the swarm has to do with."""

    help: HelpRequest


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat: all that the swarm holds through its session."""

    owned: tuple[Holding, ...]
    draining: bool


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of the stream, announced."""

    action: ClosingAction
    reason: str


class HelperAnswer(Protocol):
    """An idle swarm that could help."""

    @property
    def swarm_id(self) -> str:
        """The swarm."""
        ...

    @property
    def coverage(self) -> float:
        """Share of the needs that it covers."""
        ...

    @property
    def capabilities(self) -> Sequence[str]:
        """The needs that it covers, sorted."""
        ...


class StatusAnswer(Protocol):
    """What a status report is answered with; the notify component fills it."""

    @property
    def queue_position(self) -> int:
        """Place in the idle queue from 1, 0 when not in it."""
        ...

    @property
    def escalated(self) -> bool:
        """Whether an incident was recorded for the orchestrator."""
        ...

    @property
    def helpers(self) -> Sequence[HelperAnswer]:
        """Idle swarms that could help, best first."""
        ...


@dataclass(frozen=True, slots=True)
class Created:
    """Ids of the tasks that a frame created, in its order."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CostTracked:
    """A cost was charged: what the account has left, None without a limit, and the attempt."""

    available_micros: int | None
    left_micros: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """A frame took effect and there is nothing more to say."""


Answer = (
    Exception | StatusAnswer | Created | ClaimOutcome | Task | BlockerAlert | CostTracked | Accepted
)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one client frame."""

    request_id: str
    answer: Answer


Frame = Opened | TaskFrame | Reply | Revoked | Said | Alert | Halt | HelpWanted | Beat | Closing
