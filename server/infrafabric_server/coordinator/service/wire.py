"""Tasks, swarms and blockers as protobuf messages."""

from infrafabric.v1 import blocker_pb2, coordinator_claim_pb2, swarm_pb2, task_pb2
from infrafabric_server.coordinator.models import (
    BlockerAlert,
    ClaimOutcome,
    Dispatch,
    Refusal,
    RetryPolicy,
    Task,
    TaskSpec,
    TaskState,
)
from infrafabric_server.edge.struct_json import json_to_struct
from infrafabric_server.fleet.models import SwarmProfile

STATES = {
    TaskState.BLOCKED: task_pb2.TASK_STATE_BLOCKED,
    TaskState.AVAILABLE: task_pb2.TASK_STATE_AVAILABLE,
    TaskState.CLAIMED: task_pb2.TASK_STATE_CLAIMED,
    TaskState.COMPLETED: task_pb2.TASK_STATE_COMPLETED,
    TaskState.FAILED: task_pb2.TASK_STATE_FAILED,
    TaskState.CANCELLED: task_pb2.TASK_STATE_CANCELLED,
}
DISPATCHES = {
    Dispatch.AUTO: task_pb2.DISPATCH_AUTO,
    Dispatch.BROADCAST: task_pb2.DISPATCH_BROADCAST,
    Dispatch.MANUAL: task_pb2.DISPATCH_MANUAL,
}
REFUSALS = {
    Refusal.TASK_NOT_FOUND: task_pb2.CLAIM_REFUSAL_TASK_NOT_FOUND,
    Refusal.ALREADY_CLAIMED: task_pb2.CLAIM_REFUSAL_ALREADY_CLAIMED,
    Refusal.NOT_AVAILABLE: task_pb2.CLAIM_REFUSAL_NOT_AVAILABLE,
    Refusal.LOST_RACE: task_pb2.CLAIM_REFUSAL_LOST_RACE,
    Refusal.SWARM_UNKNOWN: task_pb2.CLAIM_REFUSAL_SWARM_UNKNOWN,
    Refusal.NO_SLOT: task_pb2.CLAIM_REFUSAL_NO_SLOT,
    Refusal.BUDGET: task_pb2.CLAIM_REFUSAL_BUDGET,
    Refusal.BREAKER_OPEN: task_pb2.CLAIM_REFUSAL_BREAKER_OPEN,
    Refusal.POLICY: task_pb2.CLAIM_REFUSAL_POLICY,
    Refusal.HOLD: task_pb2.CLAIM_REFUSAL_HOLD,
}
_DEFAULT_RETRY = RetryPolicy()


def task_to_wire(task: Task) -> task_pb2.Task:
    """Return a task as a message, with its input and result."""
    message = task_pb2.Task(
        task_id=task.task_id,
        state=STATES[task.state],
        dispatch=DISPATCHES[task.dispatch],
        attempt=task.attempt,
        owner_swarm_id=task.claim.swarm_id if task.claim is not None else "",
        milestone_percent=task.milestone_percent,
        milestone_note=task.milestone_note,
        blocked_on=task.blocked_on,
        next_action=task.next_action,
        offered_swarm_id=task.offered_to,
        cost_micros=task.cost_micros,
        failures=task.failures,
        reason=task.reason,
        spent_micros=task.spent_micros,
    )
    _add_spec(message, task.spec)
    if task.claim is not None:
        message.parked = task.claim.parked
        message.reserved_micros = task.claim.reserved_micros
        message.claim_time.FromDatetime(task.claim.claim_time)
        if task.claim.expire_time is not None:
            message.claim_expire_time.FromDatetime(task.claim.expire_time)
    elif task.state.ended:
        message.owner_swarm_id = task.last_owner
    if task.result_json:
        json_to_struct(task.result_json, message.result)
    if task.available_time is not None:
        message.available_time.FromDatetime(task.available_time)
    if task.end_time is not None:
        message.end_time.FromDatetime(task.end_time)
    return message


def _add_spec(message: task_pb2.Task, spec: TaskSpec) -> None:
    message.title = spec.title
    message.required_capabilities.extend(sorted(spec.required_capabilities))
    message.priority = spec.priority
    message.dependencies.extend(spec.dependencies)
    message.filler = spec.filler
    message.preferred_model = spec.preferred_model
    message.chassis_swarm_id = spec.chassis_swarm_id
    message.create_time.FromDatetime(spec.create_time)
    if spec.input_json != "{}":
        json_to_struct(spec.input_json, message.input)
    if spec.max_cost_micros is not None:
        message.max_cost_micros = spec.max_cost_micros
    if spec.estimated_duration is not None:
        message.estimated_duration.FromTimedelta(spec.estimated_duration)
    if spec.deadline is not None:
        message.deadline_time.FromDatetime(spec.deadline)
    if spec.progress_timeout is not None:
        message.progress_timeout.FromTimedelta(spec.progress_timeout)
    if spec.retry != _DEFAULT_RETRY:
        message.retry_policy.max_attempts = spec.retry.max_attempts
        message.retry_policy.multiplier = spec.retry.multiplier
        message.retry_policy.initial_backoff.FromTimedelta(spec.retry.initial_backoff)
        message.retry_policy.max_backoff.FromTimedelta(spec.retry.max_backoff)


def blocker_to_wire(alert: BlockerAlert) -> blocker_pb2.Blocker:
    """Return an incident as a message."""
    message = blocker_pb2.Blocker(
        blocker_id=alert.blocker_id,
        swarm_id=alert.swarm_id,
        task_id=alert.task_id,
        attempt=alert.attempt,
        description=alert.description,
        needs=sorted(alert.needs),
        escalations=alert.escalations,
        resolution=alert.resolution,
    )
    message.create_time.FromDatetime(alert.create_time)
    message.update_time.FromDatetime(alert.update_time)
    if alert.resolve_time is not None:
        message.resolve_time.FromDatetime(alert.resolve_time)
    return message


def profile_to_wire(profile: SwarmProfile, *, epoch: int, claimed: list[str]) -> swarm_pb2.Swarm:
    """Return a swarm as a message; `epoch` is that of its open session, 0 without one."""
    message = swarm_pb2.Swarm(
        swarm_id=profile.swarm_id,
        capabilities=sorted(profile.capabilities),
        cost_per_hour_micros=profile.cost_per_hour_micros,
        model=profile.model,
        max_concurrent_tasks=profile.max_concurrent_tasks,
        connected=epoch > 0,
        session_epoch=epoch,
        claimed_task_ids=claimed,
        credential_pool=profile.credential_pool,
    )
    message.create_time.FromDatetime(profile.create_time)
    message.update_time.FromDatetime(profile.update_time)
    return message


def claim_to_wire(outcome: ClaimOutcome) -> coordinator_claim_pb2.ClaimTaskResponse:
    """Return how a claim ended as the answer of the unary call."""
    message = coordinator_claim_pb2.ClaimTaskResponse(
        claimed=outcome.claimed, owner_swarm_id=outcome.owner
    )
    if outcome.refusal is not None:
        message.refusal = REFUSALS[outcome.refusal]
        message.refusal_detail = outcome.detail
    if outcome.task is not None:
        message.task.CopyFrom(task_to_wire(outcome.task))
    return message
