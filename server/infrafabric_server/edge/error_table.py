"""The one table from refusals to gRPC codes, and the statuses that carry them."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.limits import CAPABILITY_PATTERN, CAPABILITY_RULE, ID_PATTERN, ID_RULE
from infrafabric_server.store.protocol import StoreClosed, StoreDenied, StoreFull, StoreUnavailable

DOMAIN = "infrafabric"

CODES: Mapping[Reason, StatusCode] = MappingProxyType(
    {
        Reason.INVALID_FIELD: StatusCode.INVALID_ARGUMENT,
        Reason.INVALID_PAGE_TOKEN: StatusCode.INVALID_ARGUMENT,
        Reason.INVALID_CURSOR: StatusCode.INVALID_ARGUMENT,
        Reason.DEPENDENCY_CYCLE: StatusCode.INVALID_ARGUMENT,
        Reason.DEPENDENCY_UNKNOWN: StatusCode.INVALID_ARGUMENT,
        Reason.SWARM_NOT_FOUND: StatusCode.NOT_FOUND,
        Reason.TASK_NOT_FOUND: StatusCode.NOT_FOUND,
        Reason.BLOCKER_NOT_FOUND: StatusCode.NOT_FOUND,
        Reason.ESCALATION_NOT_FOUND: StatusCode.NOT_FOUND,
        Reason.HELP_NOT_FOUND: StatusCode.NOT_FOUND,
        Reason.HELP_ENDED: StatusCode.FAILED_PRECONDITION,
        Reason.NOT_A_HELPER: StatusCode.FAILED_PRECONDITION,
        Reason.TASK_EXISTS: StatusCode.ALREADY_EXISTS,
        Reason.REQUEST_ID_REUSED: StatusCode.ALREADY_EXISTS,
        Reason.STALE_ATTEMPT: StatusCode.FAILED_PRECONDITION,
        Reason.NOT_OWNER: StatusCode.FAILED_PRECONDITION,
        Reason.TASK_NOT_CLAIMED: StatusCode.FAILED_PRECONDITION,
        Reason.TASK_ENDED: StatusCode.FAILED_PRECONDITION,
        Reason.TASK_NOT_AVAILABLE: StatusCode.FAILED_PRECONDITION,
        Reason.NO_SESSION: StatusCode.FAILED_PRECONDITION,
        Reason.SESSION_PROTOCOL: StatusCode.FAILED_PRECONDITION,
        Reason.SESSION_EXPIRED: StatusCode.ABORTED,
        Reason.SESSION_FENCED: StatusCode.ABORTED,
        Reason.QUEUE_OVERFLOW: StatusCode.RESOURCE_EXHAUSTED,
        Reason.LIMIT_REACHED: StatusCode.RESOURCE_EXHAUSTED,
        Reason.OUTBOX_FULL: StatusCode.RESOURCE_EXHAUSTED,
        Reason.DRAINING: StatusCode.UNAVAILABLE,
        Reason.STORE_UNAVAILABLE: StatusCode.UNAVAILABLE,
        Reason.CONTENTION: StatusCode.ABORTED,
        Reason.SWARM_NOT_LOADED: StatusCode.FAILED_PRECONDITION,
        Reason.MODULE_NOT_FOUND: StatusCode.NOT_FOUND,
        Reason.MODULE_REFUSED: StatusCode.FAILED_PRECONDITION,
        Reason.QUEUE_FULL: StatusCode.RESOURCE_EXHAUSTED,
        Reason.BREAKER_OPEN: StatusCode.FAILED_PRECONDITION,
        Reason.CHASSIS_CLOSED: StatusCode.FAILED_PRECONDITION,
    }
)

# Reasons whose contract promises RetryInfo, and the seconds when the refusal names none.
RETRY_SECONDS: Mapping[Reason, float] = MappingProxyType(
    {
        Reason.OUTBOX_FULL: 1.0,
        Reason.QUEUE_FULL: 1.0,
        Reason.DRAINING: 1.0,
        Reason.STORE_UNAVAILABLE: 1.0,
        Reason.CONTENTION: 0.1,
    }
)

INTERNAL_MESSAGE = "the server met an error that it did not expect; its log has the details"

# A status travels in headers, of which clients take 8 KiB: these leave room, in base64 too.
_MAX_VIOLATIONS = 10
_MAX_RULE = 200
_MAX_MESSAGE = 1_000

_SHOULD = re.compile(r"^[\w ]+? should ")

_RULES = {ID_PATTERN: ID_RULE, CAPABILITY_PATTERN: CAPABILITY_RULE}


def as_refusal(error: BaseException) -> FabricError | None:
    """Return what a caller may be told of `error`, or None if it was not expected.

    A refusal is returned as it is; the store's outages and the violations of a model are
    translated. Whatever is left is the server's own fault, and its text is for the log.
    """
    match error:
        case FabricError():
            return error
        case ValidationError():
            return InvalidField(*(_violation(each) for each in error.errors(include_url=False)))
        case StoreFull():
            # Not LIMIT_REACHED: nothing is wrong with the call, and a repeat will succeed.
            return FabricError(
                Reason.STORE_UNAVAILABLE,
                "the disk or quota of the server is full, and nothing was written; make room"
                " there, the server then goes on by itself, and try again",
            )
        case StoreDenied():
            return FabricError(
                Reason.STORE_UNAVAILABLE,
                "the store denies this server access, and nothing was done; go to another replica,"
                " or try again when an operator has given the access back",
            )
        case StoreUnavailable() | StoreClosed():
            return FabricError(
                Reason.STORE_UNAVAILABLE,
                "the store did not answer, and the call may have taken effect;"
                " read the state, or repeat a call that is safe to repeat",
            )
        case _:
            return None


def code_number(code: StatusCode) -> int:
    """Return the number of `code` on the wire, as `google.rpc.Status.code` wants it."""
    number, _ = code.value
    return int(number)


def retry_seconds(refusal: FabricError) -> float | None:
    """Return after how many seconds a retry may help, or None when it cannot."""
    if refusal.retry_after is not None:
        return refusal.retry_after
    return RETRY_SECONDS.get(refusal.reason)


def status_of(error: BaseException) -> Status:
    """Return the status for `error`: code, text, and the details that programs match on."""
    refusal = as_refusal(error)
    if refusal is None:
        return Status(code=code_number(StatusCode.INTERNAL), message=INTERNAL_MESSAGE)
    message = _cut(refusal.message, _MAX_MESSAGE)
    status = Status(code=code_number(CODES[refusal.reason]), message=message)
    _pack(status, ErrorInfo(domain=DOMAIN, reason=f"ERROR_REASON_{refusal.reason.name}"))
    if refusal.fields:
        _pack(
            status,
            BadRequest(
                field_violations=[
                    BadRequest.FieldViolation(
                        field=_cut(each.field, _MAX_RULE), description=_cut(each.rule, _MAX_RULE)
                    )
                    for each in refusal.fields[:_MAX_VIOLATIONS]
                ]
            ),
        )
    seconds = retry_seconds(refusal)
    if seconds is not None:
        delay = Duration(seconds=int(seconds), nanos=round(seconds % 1 * 1_000_000_000))
        _pack(status, RetryInfo(retry_delay=delay))
    return status


def _pack(status: Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _violation(error: ErrorDetails) -> FieldViolation:
    pattern = error.get("ctx", {}).get("pattern")
    rule = _RULES.get(pattern) if isinstance(pattern, str) else None
    return FieldViolation(_path(error["loc"]), rule or _said(error))


def _said(error: ErrorDetails) -> str:
    """Return the rule in the words of the contract: what a value must be."""
    if error["type"] == "missing":
        return "is required"
    # Rules of ours come as `Value error, must be ...`, pydantic's own as `Input should be ...`.
    text = error["msg"].removeprefix("Value error, ")
    return _SHOULD.sub("must ", text, count=1)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += f".{step}" if path else step
    return path
