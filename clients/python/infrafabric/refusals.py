"""Turns what gRPC reports into the exceptions of `infrafabric.errors`."""

from typing import TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from infrafabric import errors
from infrafabric.errors import FabricError, FieldViolation, Refused, Unreachable
from infrafabric.v1 import error_pb2

_Detail = TypeVar("_Detail", bound=Message)

_DOMAIN = "infrafabric"

# Where gRPC carries a rich status.
_DETAILS = "grpc-status-details-bin"

# One class for each reason of the contract; a test keeps the table complete.
BY_REASON: dict[error_pb2.ErrorReason.ValueType, type[Refused]] = {
    error_pb2.ERROR_REASON_INVALID_FIELD: errors.InvalidField,
    error_pb2.ERROR_REASON_INVALID_PAGE_TOKEN: errors.InvalidPageToken,
    error_pb2.ERROR_REASON_INVALID_CURSOR: errors.InvalidCursor,
    error_pb2.ERROR_REASON_DEPENDENCY_CYCLE: errors.DependencyCycle,
    error_pb2.ERROR_REASON_DEPENDENCY_UNKNOWN: errors.DependencyUnknown,
    error_pb2.ERROR_REASON_SWARM_NOT_FOUND: errors.SwarmNotFound,
    error_pb2.ERROR_REASON_TASK_NOT_FOUND: errors.TaskNotFound,
    error_pb2.ERROR_REASON_BLOCKER_NOT_FOUND: errors.BlockerNotFound,
    error_pb2.ERROR_REASON_ESCALATION_NOT_FOUND: errors.EscalationNotFound,
    error_pb2.ERROR_REASON_HELP_NOT_FOUND: errors.HelpNotFound,
    error_pb2.ERROR_REASON_TASK_EXISTS: errors.TaskExists,
    error_pb2.ERROR_REASON_REQUEST_ID_REUSED: errors.RequestIdReused,
    error_pb2.ERROR_REASON_STALE_ATTEMPT: errors.StaleAttempt,
    error_pb2.ERROR_REASON_NOT_OWNER: errors.NotOwner,
    error_pb2.ERROR_REASON_TASK_NOT_CLAIMED: errors.TaskNotClaimed,
    error_pb2.ERROR_REASON_TASK_ENDED: errors.TaskEnded,
    error_pb2.ERROR_REASON_TASK_NOT_AVAILABLE: errors.TaskNotAvailable,
    error_pb2.ERROR_REASON_HELP_ENDED: errors.HelpEnded,
    error_pb2.ERROR_REASON_NOT_A_HELPER: errors.NotAHelper,
    error_pb2.ERROR_REASON_NO_SESSION: errors.NoSession,
    error_pb2.ERROR_REASON_SESSION_PROTOCOL: errors.SessionProtocol,
    error_pb2.ERROR_REASON_SESSION_EXPIRED: errors.SessionExpired,
    error_pb2.ERROR_REASON_SESSION_FENCED: errors.SessionFenced,
    error_pb2.ERROR_REASON_QUEUE_OVERFLOW: errors.QueueOverflow,
    error_pb2.ERROR_REASON_LIMIT_REACHED: errors.LimitReached,
    error_pb2.ERROR_REASON_OUTBOX_FULL: errors.OutboxFull,
    error_pb2.ERROR_REASON_DRAINING: errors.Draining,
    error_pb2.ERROR_REASON_STORE_UNAVAILABLE: errors.StoreUnavailable,
    error_pb2.ERROR_REASON_CONTENTION: errors.Contention,
    error_pb2.ERROR_REASON_SWARM_NOT_LOADED: errors.SwarmNotLoaded,
    error_pb2.ERROR_REASON_MODULE_NOT_FOUND: errors.ModuleNotFound,
    error_pb2.ERROR_REASON_MODULE_REFUSED: errors.ModuleRefused,
    error_pb2.ERROR_REASON_QUEUE_FULL: errors.QueueFull,
    error_pb2.ERROR_REASON_BREAKER_OPEN: errors.BreakerOpen,
    error_pb2.ERROR_REASON_CHASSIS_CLOSED: errors.ChassisClosed,
}

_BY_NAME = {error_pb2.ErrorReason.Name(value): kind for value, kind in BY_REASON.items()}

# Codes that a connection gives by itself, without an answer of the fabric.
_NO_ANSWER = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)


def from_status(status: status_pb2.Status) -> Refused:
    """Return the exception that a rich status stands for.

    Args:
        status: a status with `google.rpc` details, from a call or from a reply frame.
    """
    reason = ""
    fields: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None
    for detail in status.details:
        if info := _unpack(detail, error_details_pb2.ErrorInfo()):
            reason = info.reason if info.domain == _DOMAIN else ""
        elif bad := _unpack(detail, error_details_pb2.BadRequest()):
            fields = tuple(FieldViolation(v.field, v.description) for v in bad.field_violations)
        elif retry := _unpack(detail, error_details_pb2.RetryInfo()):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    kind = _BY_NAME.get(reason, Refused)
    return kind(status.message, reason=reason, fields=fields, retry_after=retry_after)


def from_rpc_error(error: grpc.aio.AioRpcError) -> FabricError:
    """Return the exception that a failed call stands for.

    Args:
        error: what grpc raised.
    """
    for key, value in error.trailing_metadata():
        if key == _DETAILS and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value))
    text = f"{error.code().name}: {error.details() or 'no details'}"
    return Unreachable(text) if error.code() in _NO_ANSWER else Refused(text)


def _unpack(packed: any_pb2.Any, into: _Detail) -> _Detail | None:
    return into if packed.Unpack(into) else None
