"""NotifyService and the status frames of sessions: protobuf in, one call, protobuf out."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, TypeVar

from grpc import aio

from infrafabric.v1 import blocker_pb2, session_client_pb2, status_pb2
from infrafabric.v1 import notify_service_pb2 as pb
from infrafabric.v1.notify_service_pb2_grpc import NotifyServiceServicer
from infrafabric_server.coordinator.service.frames import broadcast_to_wire
from infrafabric_server.coordinator.service.wire import blocker_to_wire
from infrafabric_server.edge import paging, validate
from infrafabric_server.edge.batches import ANSWER_BYTES, batches
from infrafabric_server.edge.times import to_timestamp
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.fleet.models import Status
from infrafabric_server.limits import MAX_LABEL
from infrafabric_server.notify import watch
from infrafabric_server.notify.models import MAX_COUNT, Agent, Notified, StatusReport
from infrafabric_server.notify.notify import IFNotify

STATUSES = {
    Status.IDLE: status_pb2.STATUS_IDLE,
    Status.BUSY: status_pb2.STATUS_BUSY,
    Status.BLOCKED: status_pb2.STATUS_BLOCKED,
    Status.COMPLETED: status_pb2.STATUS_COMPLETED,
    Status.HELP: status_pb2.STATUS_HELP,
}
_BY_NUMBER = {number: status for status, number in STATUSES.items()}

# Statuses and blockers are in one answer.
_HALF_BYTES = ANSWER_BYTES // 2

_Context = aio.ServicerContext[Any, Any]
MessageT = TypeVar("MessageT", status_pb2.AgentStatus, blocker_pb2.Blocker)


class NotifyService(NotifyServiceServicer):
    """The servicer."""

    def __init__(self, notify: IFNotify, statuses: watch.StatusWatch) -> None:
        self._notify = notify
        self._statuses = statuses

    async def Notify(self, request: pb.NotifyRequest, context: _Context) -> pb.NotifyResponse:
        """Take a status report."""
        report = StatusReport(
            swarm_id=validate.require_id("swarm_id", request.swarm_id),
            capabilities=validate.require_capabilities("capabilities", request.capabilities),
            tasks_completed=validate.require_int(
                "tasks_completed", request.tasks_completed, 0, MAX_COUNT
            ),
            **_said(request),
        )
        answer = await self._notify.notify(report)
        return pb.NotifyResponse(
            queue_position=answer.queue_position,
            helpers=[
                status_pb2.Helper(
                    swarm_id=each.swarm_id, coverage=each.coverage, capabilities=each.capabilities
                )
                for each in answer.helpers
            ],
            escalated=answer.escalated,
        )

    async def GetStatus(
        self, request: pb.GetStatusRequest, context: _Context
    ) -> pb.GetStatusResponse:
        """List statuses."""
        size = validate.page_size(request.page_size)
        position = paging.page_position(request)
        found = self._notify.page(position, size + 1)
        agents = _fitting(map(_agent, found[:size]))
        last = agents[-1].swarm_id if len(found) > len(agents) else ""
        blockers = [] if position else self._notify.open_blockers()
        total, idle = self._notify.count()
        return pb.GetStatusResponse(
            agents=agents,
            next_page_token=paging.next_page_token(request, last),
            total_agents=total,
            idle_agents=idle,
            blockers=_fitting(map(blocker_to_wire, blockers)),
        )

    async def WatchStatus(
        self, request: pb.WatchStatusRequest, context: _Context
    ) -> AsyncIterator[pb.WatchStatusResponse]:
        """Follow the statuses."""
        after = validate.cursor("after_cursor", request.after_cursor)
        async for batch in self._statuses.follow(after):
            cursor = "" if batch.cursor is None else str(batch.cursor)
            yield pb.WatchStatusResponse(events=_events(cursor, batch.events))

    async def Broadcast(
        self, request: pb.BroadcastRequest, context: _Context
    ) -> pb.BroadcastResponse:
        """Send a text to everyone."""
        message = validate.require_text("message", request.message, least=1)
        request_id = validate.optional_id("request_id", request.request_id)
        return pb.BroadcastResponse(sessions=await self._notify.broadcast(message, request_id))


class StatusFrames:
    """Where a session's status frames go."""

    def __init__(self, notify: IFNotify) -> None:
        self._notify = notify

    async def __call__(self, swarm_id: str, frame: session_client_pb2.StatusFrame) -> Notified:
        """Take a status report that came down the swarm's session."""
        report = StatusReport(swarm_id=swarm_id, by_session=True, **_said(frame))
        return await self._notify.notify(report)


def _said(message: pb.NotifyRequest | session_client_pb2.StatusFrame) -> dict[str, Any]:
    """Return the fields that a unary report and a session's report have in common."""
    status = _BY_NUMBER.get(message.status)
    if status is None:
        names = ", ".join(status_pb2.Status.Name(number) for number in _BY_NUMBER)
        raise InvalidField(FieldViolation("status", f"must be one of {names}"))
    return {
        "status": status,
        "last_task": validate.require_text("task_id", message.task_id, most=MAX_LABEL) or None,
        "message": validate.require_text("message", message.message),
        "needs": validate.require_capabilities("needs", message.needs),
        "cost_spent_micros": validate.require_money("cost_spent_micros", message.cost_spent_micros),
    }


def _fitting(messages: Iterable[MessageT]) -> list[MessageT]:
    """Return as many messages, from the first on, as fit into half of an answer."""
    return next(batches(messages, most_bytes=_HALF_BYTES), [])


def _agent(agent: Agent) -> status_pb2.AgentStatus:
    status = agent.status
    message = status_pb2.AgentStatus(
        swarm_id=status.swarm_id,
        status=STATUSES[status.status],
        status_time=to_timestamp(status.status_time),
        last_task=status.last_task or "",
        capabilities=sorted(agent.capabilities),
        cost_spent_micros=status.cost_spent_micros,
        tasks_completed=status.tasks_completed,
        message=status.message,
        queue_position=agent.queue_position,
    )
    if status.waiting_since is not None:
        message.waiting_since_time.CopyFrom(to_timestamp(status.waiting_since))
    return message


def _events(cursor: str, events: Sequence[watch.Event]) -> list[pb.StatusEvent]:
    messages = []
    for event in events:
        message = pb.StatusEvent(cursor=cursor)
        match event:
            case watch.Listed(agent):
                message.snapshot.CopyFrom(_agent(agent))
            case watch.SnapshotEnd(count):
                message.snapshot_end.count = count
            case watch.Changed(agent):
                message.changed.CopyFrom(_agent(agent))
            case watch.Removed(swarm_id):
                message.removed_swarm_id = swarm_id
            case watch.Said(broadcast):
                message.broadcast.CopyFrom(broadcast_to_wire(broadcast))
            case watch.Missed(oldest):
                message.gap.oldest_cursor = str(oldest)
        messages.append(message)
    return messages
