"""Protobuf messages as the values of the use cases; each refusal names its field."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from infrafabric.v1 import session_client_pb2, task_pb2
from infrafabric_server.coordinator.creation import NewTask, new_task_id
from infrafabric_server.coordinator.models import (
    BlockerReport,
    Dispatch,
    FailureKind,
    RetryPolicy,
    TaskSpec,
)
from infrafabric_server.coordinator.registration import Joining
from infrafabric_server.coordinator.rules import MILESTONES
from infrafabric_server.coordinator.sessions import Opening
from infrafabric_server.edge import validate
from infrafabric_server.edge.struct_json import struct_to_json
from infrafabric_server.edge.times import from_duration, from_timestamp
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.governor.breaker.models import PRIVATE_POOL
from infrafabric_server.limits import (
    MAX_CAPABILITIES,
    MAX_DEPENDENCIES,
    MAX_LABEL,
    MAX_MODEL,
    MAX_SLOTS,
)

MAX_GROWTH = 10
_DAY = timedelta(days=1)
_MONTH = timedelta(days=30)
_DISPATCHES = {
    task_pb2.DISPATCH_UNSPECIFIED: Dispatch.AUTO,
    task_pb2.DISPATCH_AUTO: Dispatch.AUTO,
    task_pb2.DISPATCH_BROADCAST: Dispatch.BROADCAST,
    task_pb2.DISPATCH_MANUAL: Dispatch.MANUAL,
}
_KINDS = {
    task_pb2.FAILURE_KIND_UNSPECIFIED: FailureKind.RETRYABLE,
    task_pb2.FAILURE_KIND_RETRYABLE: FailureKind.RETRYABLE,
    task_pb2.FAILURE_KIND_PERMANENT: FailureKind.PERMANENT,
    task_pb2.FAILURE_KIND_PROVIDER_QUOTA: FailureKind.PROVIDER_QUOTA,
    task_pb2.FAILURE_KIND_PROVIDER_RATE: FailureKind.PROVIDER_RATE,
}
_ROLES = {
    session_client_pb2.SESSION_ROLE_UNSPECIFIED: SessionRole.WORKER,
    session_client_pb2.SESSION_ROLE_WORKER: SessionRole.WORKER,
    session_client_pb2.SESSION_ROLE_ORCHESTRATOR: SessionRole.ORCHESTRATOR,
}


def new_tasks(messages: Sequence[task_pb2.Task], request_id: str, now: datetime) -> list[NewTask]:
    """Return the tasks of a board; a task without an id gets one."""
    return [
        new_task(f"tasks[{i}]", message, message.task_id or new_task_id(request_id, i), i, now)
        for i, message in enumerate(messages)
    ]


def new_task(
    field: str, message: task_pb2.Task, task_id: str, position: int, now: datetime
) -> NewTask:
    """Return one task to be created; `field` is its path in the request."""
    dispatch = _DISPATCHES.get(message.dispatch)
    if dispatch is None:
        raise InvalidField(FieldViolation(f"{field}.dispatch", "must be a known Dispatch"))
    if len(message.dependencies) > MAX_DEPENDENCIES:
        rule = f"must have at most {MAX_DEPENDENCIES} entries"
        raise InvalidField(FieldViolation(f"{field}.dependencies", rule))
    at = field + "."
    spec = TaskSpec(
        task_id=validate.require_id(at + "task_id", task_id),
        title=validate.require_text(at + "title", message.title, most=MAX_LABEL),
        input_json=struct_to_json(at + "input", message.input),
        required_capabilities=validate.require_capabilities(
            at + "required_capabilities", message.required_capabilities
        ),
        max_cost_micros=(
            validate.require_money(at + "max_cost_micros", message.max_cost_micros)
            if message.HasField("max_cost_micros")
            else None
        ),
        priority=validate.require_int(at + "priority", message.priority, -1000, 1000),
        dependencies=tuple(
            dict.fromkeys(
                validate.require_id(f"{at}dependencies[{i}]", dependency)
                for i, dependency in enumerate(message.dependencies)
            )
        ),
        filler=message.filler,
        estimated_duration=_length(message, at, "estimated_duration", timedelta(0), _MONTH),
        preferred_model=validate.require_text(
            at + "preferred_model", message.preferred_model, most=MAX_MODEL
        ),
        deadline=(
            from_timestamp(at + "deadline_time", message.deadline_time)
            if message.HasField("deadline_time")
            else None
        ),
        progress_timeout=_length(message, at, "progress_timeout", timedelta(seconds=1), _MONTH),
        retry=_retry(at + "retry_policy", message.retry_policy),
        chassis_swarm_id=_chassis_swarm(at, message.chassis_swarm_id, dispatch),
        create_time=now,
        position=position,
    )
    return spec, dispatch


def _chassis_swarm(path: str, value: str, dispatch: Dispatch) -> str:
    if value and dispatch is not Dispatch.AUTO:
        rule = "must be empty unless dispatch is AUTO: the fabric runs it by itself"
        raise InvalidField(FieldViolation(f"{path}chassis_swarm_id", rule))
    return validate.optional_id(f"{path}chassis_swarm_id", value)


def _length(
    message: task_pb2.Task | task_pb2.RetryPolicy,
    path: str,
    name: str,
    least: timedelta,
    most: timedelta,
) -> timedelta | None:
    if not message.HasField(name):  # type: ignore[arg-type]  # stubs want a literal per message
        return None
    return from_duration(path + name, getattr(message, name), least=least, most=most)


def _retry(field: str, message: task_pb2.RetryPolicy) -> RetryPolicy:
    default = RetryPolicy()
    validate.require_int(f"{field}.max_attempts", message.max_attempts, 0, 100)
    if message.multiplier != 0 and not 1 <= message.multiplier <= MAX_GROWTH:
        raise InvalidField(
            FieldViolation(f"{field}.multiplier", f"must be 0, or 1 to {MAX_GROWTH}")
        )
    at = field + "."
    initial = _length(message, at, "initial_backoff", timedelta(0), _DAY)
    longest = _length(message, at, "max_backoff", timedelta(0), _DAY)
    return RetryPolicy(
        max_attempts=message.max_attempts or default.max_attempts,
        multiplier=message.multiplier or default.multiplier,
        initial_backoff=default.initial_backoff if initial is None else initial,
        max_backoff=default.max_backoff if longest is None else longest,
    )


def failure_kind(field: str, value: int) -> FailureKind:
    """Return the kind of a failure, or raise InvalidField."""
    kind = _KINDS.get(task_pb2.FailureKind.ValueType(value))
    if kind is None:
        raise InvalidField(FieldViolation(field, "must be a known FailureKind"))
    return kind


def milestone(field: str, percent: int) -> int:
    """Return a milestone, or raise InvalidField."""
    if percent not in MILESTONES:
        raise InvalidField(FieldViolation(field, "must be 0, 25, 50, 75 or 100"))
    return percent


def waits_for(field: str, values: Sequence[str]) -> tuple[str, ...]:
    """Return what work waits for: at most 64 short texts."""
    if len(values) > MAX_CAPABILITIES:
        rule = f"must have at most {MAX_CAPABILITIES} entries"
        raise InvalidField(FieldViolation(field, rule))
    return tuple(
        validate.require_text(f"{field}[{i}]", value, most=MAX_LABEL)
        for i, value in enumerate(values)
    )


def credential_pool(field: str, value: str) -> str:
    """Return the pool that a swarm shares, "" for its own; raise InvalidField for another's own."""
    if value.startswith(PRIVATE_POOL):
        rule = f"must not begin with {PRIVATE_POOL}, as a swarm's own pool does; leave it empty"
        raise InvalidField(FieldViolation(field, rule))
    return validate.optional_id(field, value)


def opening(message: session_client_pb2.OpenFrame) -> Opening:
    """Return what a client says when it opens a stream."""
    role = _ROLES.get(message.role)
    if role is None:
        raise InvalidField(FieldViolation("open.role", "must be a known SessionRole"))
    slots = validate.require_int("open.slots", message.slots, 0, MAX_SLOTS)
    capabilities = validate.require_capabilities("open.capabilities", message.capabilities)
    return Opening(
        joining=Joining(
            swarm_id=validate.require_id("open.swarm_id", message.swarm_id),
            capabilities=capabilities or None,
            cost_per_hour_micros=(
                validate.require_money("open.cost_per_hour_micros", message.cost_per_hour_micros)
                if message.HasField("cost_per_hour_micros")
                else None
            ),
            model=validate.require_text("open.model", message.model, most=MAX_MODEL) or None,
            max_concurrent_tasks=slots or None,
            credential_pool=credential_pool("open.credential_pool", message.credential_pool)
            or None,
        ),
        role=role,
        resume_token=validate.require_text("open.resume_token", message.resume_token, most=256),
        after_broadcast=validate.cursor("open.resume_after", message.resume_after),
        credit=(
            validate.require_int("open.credit", message.credit, 0, 1_000_000)
            if message.HasField("credit")
            else None
        ),
    )


def blocker_report(
    prefix: str,
    task_id: str,
    attempt: int,
    description: str,
    needs: Sequence[str],
    request_id: str = "",
) -> BlockerReport:
    """Return what a swarm says that cannot go on; `prefix` is the path of its fields."""
    if task_id:
        validate.require_attempt(f"{prefix}attempt", attempt)
    elif attempt:
        raise InvalidField(FieldViolation(f"{prefix}attempt", "must be 0 without a task_id"))
    return BlockerReport(
        task_id=validate.optional_id(f"{prefix}task_id", task_id),
        attempt=attempt,
        description=validate.require_text(f"{prefix}description", description, least=1),
        needs=validate.require_capabilities(f"{prefix}needs", needs),
        request_id=request_id,
    )
