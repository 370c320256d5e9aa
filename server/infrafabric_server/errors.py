"""Refusals: what a caller did wrong or met, as values that every edge can translate.

    FabricError               reason, message, fields, retry_after
    └── InvalidField          one or more fields break their rule

Use cases raise these; `edge.error_table` turns them into gRPC statuses and `gateway.refusals`
into HTTP answers. Nothing else in the server reaches a caller with its own text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why something was refused; each is `ERROR_REASON_<name>` of the contract."""

    INVALID_FIELD = "INVALID_FIELD"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"
    INVALID_CURSOR = "INVALID_CURSOR"
    DEPENDENCY_CYCLE = "DEPENDENCY_CYCLE"
    DEPENDENCY_UNKNOWN = "DEPENDENCY_UNKNOWN"
    SWARM_NOT_FOUND = "SWARM_NOT_FOUND"
    TASK_NOT_FOUND = "TASK_NOT_FOUND"
    BLOCKER_NOT_FOUND = "BLOCKER_NOT_FOUND"
    TASK_EXISTS = "TASK_EXISTS"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    STALE_ATTEMPT = "STALE_ATTEMPT"
    NOT_OWNER = "NOT_OWNER"
    TASK_NOT_CLAIMED = "TASK_NOT_CLAIMED"
    TASK_ENDED = "TASK_ENDED"
    TASK_NOT_AVAILABLE = "TASK_NOT_AVAILABLE"
    NO_SESSION = "NO_SESSION"
    SESSION_PROTOCOL = "SESSION_PROTOCOL"
    SESSION_EXPIRED = "SESSION_EXPIRED"
    SESSION_FENCED = "SESSION_FENCED"
    QUEUE_OVERFLOW = "QUEUE_OVERFLOW"
    LIMIT_REACHED = "LIMIT_REACHED"
    OUTBOX_FULL = "OUTBOX_FULL"
    DRAINING = "DRAINING"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    CONTENTION = "CONTENTION"
    ESCALATION_NOT_FOUND = "ESCALATION_NOT_FOUND"
    HELP_NOT_FOUND = "HELP_NOT_FOUND"
    HELP_ENDED = "HELP_ENDED"
    NOT_A_HELPER = "NOT_A_HELPER"
    SWARM_NOT_LOADED = "SWARM_NOT_LOADED"
    MODULE_NOT_FOUND = "MODULE_NOT_FOUND"
    MODULE_REFUSED = "MODULE_REFUSED"
    QUEUE_FULL = "QUEUE_FULL"
    BREAKER_OPEN = "BREAKER_OPEN"
    CHASSIS_CLOSED = "CHASSIS_CLOSED"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field and the rule that it breaks; `field` is a path such as `tasks[3].title`."""

    field: str
    rule: str


class FabricError(Exception):
    """A refusal with a reason that programs match on and a message for people.

    `fields` names the fields at fault; `retry_after` is the number of seconds after which
    a retry may help, None when it cannot. `certain` is set when it was decided on views that had
    caught up with all replicas.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        fields: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.fields = tuple(fields)
        self.retry_after = retry_after
        self.certain = False


class InvalidField(FabricError):
    """One or more fields of a request break their rule."""

    def __init__(self, *violations: FieldViolation) -> None:
        text = "; ".join(f"{v.field}: {v.rule}" for v in violations)
        super().__init__(Reason.INVALID_FIELD, text, fields=violations)
