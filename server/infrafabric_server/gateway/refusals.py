"""Refusals as HTTP answers: one table from reason to status, one form of JSON body."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ExceptionHandler

from infrafabric_server.edge.error_table import INTERNAL_MESSAGE, as_refusal, retry_seconds
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.gateway.bodies import BodyUnread
from infrafabric_server.store.protocol import StoreError

STATUSES: Mapping[Reason, HTTPStatus] = MappingProxyType(
    {
        Reason.INVALID_FIELD: HTTPStatus.UNPROCESSABLE_ENTITY,
        Reason.INVALID_PAGE_TOKEN: HTTPStatus.UNPROCESSABLE_ENTITY,
        Reason.INVALID_CURSOR: HTTPStatus.UNPROCESSABLE_ENTITY,
        Reason.DEPENDENCY_CYCLE: HTTPStatus.UNPROCESSABLE_ENTITY,
        Reason.DEPENDENCY_UNKNOWN: HTTPStatus.UNPROCESSABLE_ENTITY,
        Reason.SWARM_NOT_FOUND: HTTPStatus.NOT_FOUND,
        Reason.TASK_NOT_FOUND: HTTPStatus.NOT_FOUND,
        Reason.ESCALATION_NOT_FOUND: HTTPStatus.NOT_FOUND,
        Reason.HELP_NOT_FOUND: HTTPStatus.NOT_FOUND,
        Reason.HELP_ENDED: HTTPStatus.CONFLICT,
        Reason.NOT_A_HELPER: HTTPStatus.CONFLICT,
        Reason.MODULE_NOT_FOUND: HTTPStatus.NOT_FOUND,
        Reason.SWARM_NOT_LOADED: HTTPStatus.CONFLICT,
        Reason.MODULE_REFUSED: HTTPStatus.CONFLICT,
        Reason.BREAKER_OPEN: HTTPStatus.CONFLICT,
        Reason.CHASSIS_CLOSED: HTTPStatus.CONFLICT,
        Reason.QUEUE_FULL: HTTPStatus.TOO_MANY_REQUESTS,
        Reason.BLOCKER_NOT_FOUND: HTTPStatus.NOT_FOUND,
        Reason.TASK_EXISTS: HTTPStatus.CONFLICT,
        Reason.REQUEST_ID_REUSED: HTTPStatus.CONFLICT,
        Reason.STALE_ATTEMPT: HTTPStatus.CONFLICT,
        Reason.NOT_OWNER: HTTPStatus.CONFLICT,
        Reason.TASK_NOT_CLAIMED: HTTPStatus.CONFLICT,
        Reason.TASK_ENDED: HTTPStatus.CONFLICT,
        Reason.TASK_NOT_AVAILABLE: HTTPStatus.CONFLICT,
        Reason.NO_SESSION: HTTPStatus.CONFLICT,
        Reason.SESSION_PROTOCOL: HTTPStatus.CONFLICT,
        Reason.SESSION_EXPIRED: HTTPStatus.CONFLICT,
        Reason.SESSION_FENCED: HTTPStatus.CONFLICT,
        Reason.QUEUE_OVERFLOW: HTTPStatus.TOO_MANY_REQUESTS,
        Reason.LIMIT_REACHED: HTTPStatus.TOO_MANY_REQUESTS,
        Reason.OUTBOX_FULL: HTTPStatus.SERVICE_UNAVAILABLE,
        Reason.DRAINING: HTTPStatus.SERVICE_UNAVAILABLE,
        Reason.STORE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
        Reason.CONTENTION: HTTPStatus.SERVICE_UNAVAILABLE,
    }
)


def refused(error: Exception) -> JSONResponse:
    """Return the answer to `error`; its own text only where callers may know it."""
    refusal = as_refusal(error)
    if refusal is None:
        return refusal_body(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL", INTERNAL_MESSAGE)
    answer = refusal_body(
        STATUSES[refusal.reason],
        refusal.reason.value,
        refusal.message,
        fields=[{"field": each.field, "rule": each.rule} for each in refusal.fields],
    )
    seconds = retry_seconds(refusal)
    if seconds is not None:
        # Whole seconds, and never 0: that would ask for a storm.
        answer.headers["retry-after"] = str(max(1, round(seconds)))
    if isinstance(error, BodyUnread):
        answer.headers["connection"] = "close"
    return answer


def refusal_body(status: HTTPStatus, reason: str, message: str, **more: object) -> JSONResponse:
    """Return a refusal in the one form that every answer but 200 has."""
    body = {"status": "refused", "reason": reason, "message": message, **more}
    return JSONResponse(body, status_code=status)


async def _refuse(_request: Request, error: Exception) -> Response:
    return refused(error)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = sorted((error.headers or {}).get("Allow", "another method").split(", "))
        message = f"{request.url.path} takes {' or '.join(allowed)}, not {request.method}"
    else:
        message = f"there is nothing at {request.url.path}"
    answer = refusal_body(status, status.name, message)
    answer.headers.update(error.headers or {})
    return answer


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=HTTPStatus.BAD_REQUEST)


# A fault of our own is answered by the last entry, and then logged by the HTTP server.
HANDLERS: Mapping[type[Exception], ExceptionHandler] = MappingProxyType(
    {
        FabricError: _refuse,
        ValidationError: _refuse,
        StoreError: _refuse,
        HTTPException: _no_route,
        ClientDisconnect: _gone,
        Exception: _refuse,
    }
)


def draining() -> FabricError:
    """Return the refusal of a call that would change something while the server drains."""
    return FabricError(
        Reason.DRAINING, "the server is about to stop and takes nothing new; try again soon"
    )
