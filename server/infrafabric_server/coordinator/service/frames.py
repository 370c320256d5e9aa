"""What the fabric says to a session, as protobuf frames."""

from datetime import timedelta

from infrafabric.v1 import session_server_pb2 as pb
from infrafabric.v1 import status_pb2
from infrafabric_server.coordinator import frames
from infrafabric_server.coordinator.models import BlockerAlert, ClaimOutcome, Task
from infrafabric_server.coordinator.service.wire import (
    REFUSALS,
    STATES,
    blocker_to_wire,
    task_to_wire,
)
from infrafabric_server.edge.error_table import status_of
from infrafabric_server.fleet.models import Broadcast
from infrafabric_server.governor.service.breaker_wire import breaker_to_wire
from infrafabric_server.governor.service.help_wire import help_to_wire

_DELIVERIES = {
    frames.Delivery.OFFERED: pb.TASK_DELIVERY_OFFERED,
    frames.Delivery.ASSIGNED: pb.TASK_DELIVERY_ASSIGNED,
    frames.Delivery.RETURNED: pb.TASK_DELIVERY_RETURNED,
}
_REASONS = {
    frames.RevokeReason.CANCELLED: pb.REVOKE_REASON_CANCELLED,
    frames.RevokeReason.DEADLINE: pb.REVOKE_REASON_DEADLINE,
    frames.RevokeReason.NO_PROGRESS: pb.REVOKE_REASON_NO_PROGRESS,
    frames.RevokeReason.NOT_ACKNOWLEDGED: pb.REVOKE_REASON_NOT_ACKNOWLEDGED,
    frames.RevokeReason.EXPIRED: pb.REVOKE_REASON_EXPIRED,
    frames.RevokeReason.ENDED_ELSEWHERE: pb.REVOKE_REASON_ENDED_ELSEWHERE,
    frames.RevokeReason.HALTED: pb.REVOKE_REASON_HALTED,
}
_ACTIONS = {
    frames.ClosingAction.RESUME: pb.CLOSING_ACTION_RESUME,
    frames.ClosingAction.RESTART: pb.CLOSING_ACTION_RESTART,
    frames.ClosingAction.STOP: pb.CLOSING_ACTION_STOP,
}


def frame_to_wire(frame: frames.Frame, sequence: int) -> pb.ServerFrame:
    """Return one frame with its number in the session."""
    message = pb.ServerFrame(sequence=sequence)
    match frame:
        case frames.TaskFrame(task, delivery):
            message.task.task.CopyFrom(task_to_wire(task))
            message.task.delivery = _DELIVERIES[delivery]
        case frames.Reply():
            _fill_reply(message.reply, frame)
        case frames.Beat(owned, draining):
            message.heartbeat.owned.extend(_holding(each) for each in owned)
            message.heartbeat.draining = draining
        case frames.Revoked(task_id, attempt, reason, detail):
            message.revoked.task_id = task_id
            message.revoked.attempt = attempt
            message.revoked.reason = _REASONS[reason]
            message.revoked.detail = detail
        case frames.Said(broadcast, _):
            message.broadcast.CopyFrom(broadcast_to_wire(broadcast))
        case frames.Alert() | frames.Halt() | frames.HelpWanted():
            _fill_incident(message, frame)
        case frames.Opened():
            _fill_opened(message.opened, frame)
        case frames.Closing(action, why):
            message.closing.action = _ACTIONS[action]
            message.closing.reason = why
    return message


def broadcast_to_wire(broadcast: Broadcast) -> status_pb2.BroadcastMessage:
    """Return a text for everyone as a message."""
    message = status_pb2.BroadcastMessage(message=broadcast.message)
    message.send_time.FromDatetime(broadcast.send_time)
    return message


def _holding(holding: frames.Holding) -> pb.Holding:
    return pb.Holding(task_id=holding.task_id, attempt=holding.attempt, parked=holding.parked)


def _fill_incident(
    message: pb.ServerFrame, frame: frames.Alert | frames.Halt | frames.HelpWanted
) -> None:
    match frame:
        case frames.Alert(blocker):
            message.blocker_alert.blocker.CopyFrom(blocker_to_wire(blocker))
        case frames.Halt(breaker, grace):
            message.halt.breaker.CopyFrom(breaker_to_wire(breaker))
            message.halt.grace.FromTimedelta(timedelta(seconds=grace))
        case frames.HelpWanted(request):
            message.help_wanted.help.CopyFrom(help_to_wire(request))


def _fill_opened(message: pb.OpenedFrame, opened: frames.Opened) -> None:
    message.session_epoch = opened.epoch
    message.resume_token = opened.resume_token
    message.lease.FromTimedelta(timedelta(seconds=opened.lease))
    message.resumed = opened.resumed
    message.owned.extend(_holding(each) for each in opened.owned)
    message.offered_task_ids.extend(opened.offered)


def _fill_reply(message: pb.ReplyFrame, reply: frames.Reply) -> None:
    message.request_id = reply.request_id
    answer = reply.answer
    match answer:
        case Exception():
            message.error.CopyFrom(status_of(answer))
        case ClaimOutcome():
            _fill_claim(message.claim, answer)
        case Task():
            message.task.task_id = answer.task_id
            message.task.state = STATES[answer.state]
            message.task.attempt = answer.attempt
        case frames.Created(task_ids):
            message.create.task_ids.extend(task_ids)
        case BlockerAlert():
            message.blocker.CopyFrom(blocker_to_wire(answer))
        case frames.CostTracked(available, left):
            if available is not None:
                message.cost.available_micros = available
            message.cost.reservation_left_micros = left
        case frames.Accepted():
            message.accepted.SetInParent()
        case _:
            _fill_status(message.status, answer)


def _fill_status(message: pb.StatusReply, answer: frames.StatusAnswer) -> None:
    message.queue_position = answer.queue_position
    message.escalated = answer.escalated
    for helper in answer.helpers:
        message.helpers.add(
            swarm_id=helper.swarm_id, coverage=helper.coverage, capabilities=helper.capabilities
        )


def _fill_claim(message: pb.ClaimReply, outcome: ClaimOutcome) -> None:
    message.claimed = outcome.claimed
    message.owner_swarm_id = outcome.owner
    if outcome.refusal is not None:
        message.refusal = REFUSALS[outcome.refusal]
        message.refusal_detail = outcome.detail
    elif outcome.task is not None:
        message.task.CopyFrom(task_to_wire(outcome.task))
