"""What the protocol tells its owner."""

from dataclasses import dataclass

from infrafabric.errors import FabricError
from infrafabric.v1 import (
    blocker_pb2,
    governor_breaker_pb2,
    help_pb2,
    session_server_pb2,
    status_pb2,
    task_pb2,
)


@dataclass(frozen=True, slots=True)
class Opened:
    """The fabric welcomed the session; `resumed` tells whether the claims were kept."""

    epoch: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class TaskReceived:
    """A claim that the owner has not seen before; it says `consumed` when it takes it."""

    task: task_pb2.Task


@dataclass(frozen=True, slots=True)
class TaskReturned:
    """The blocker of a parked task is resolved: go on with it."""

    task_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class TaskLost:
    """The claim is void; `detail` says why, for people."""

    task_id: str
    attempt: int
    reason: session_server_pb2.RevokeReason.ValueType
    detail: str


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """The claim ended by the session's own word: completed, failed or released."""

    task_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class BroadcastReceived:
    """A text for everyone."""

    message: status_pb2.BroadcastMessage


@dataclass(frozen=True, slots=True)
class BlockerAlerted:
    """An incident for the orchestrator."""

    blocker: blocker_pb2.Blocker


@dataclass(frozen=True, slots=True)
class Halted:
    """The swarm must stop all its work: a circuit breaker is open."""

    frame: governor_breaker_pb2.HaltFrame


@dataclass(frozen=True, slots=True)
class HelpWanted:
    """A request for help that the swarm has to do with, as it stands."""

    help: help_pb2.HelpRequest


@dataclass(frozen=True, slots=True)
class Answered:
    """A request took effect."""

    request_id: str
    reply: session_server_pb2.ReplyFrame


@dataclass(frozen=True, slots=True)
class Denied:
    """A request was refused for good."""

    request_id: str
    error: FabricError


@dataclass(frozen=True, slots=True)
class Superseded:
    """A report was replaced by a later one before it was sent."""

    request_id: str


Event = (
    Opened
    | TaskReceived
    | TaskReturned
    | TaskLost
    | TaskEnded
    | BroadcastReceived
    | BlockerAlerted
    | Halted
    | HelpWanted
    | Answered
    | Denied
    | Superseded
)
