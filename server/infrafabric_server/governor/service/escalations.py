"""The calls about escalations: listing, watching, acknowledging."""

from collections.abc import AsyncIterator, Iterable, Iterator

from infrafabric.v1 import escalation_pb2
from infrafabric.v1 import governor_escalation_pb2 as pb
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceServicer
from infrafabric_server.edge import validate
from infrafabric_server.edge.batches import batches
from infrafabric_server.edge.calls import Context, Finish
from infrafabric_server.edge.paging import next_page_token, page_position
from infrafabric_server.edge.times import to_timestamp
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.governor.escalation.desk import Desk
from infrafabric_server.governor.escalation.models import Escalation, Kind, State
from infrafabric_server.store.feed import Changes, Feed, Gap, Snapshot

# A name of a person or program; the proto says so.
_MAX_NAME = 128
# A kind and a subject: two ids with a sign between them at most.
_MAX_ID = 300
# Events of one message of a watch: each is at most some 40 KB, and a message 4 MiB.
_EVENTS = 64

_STATES = {
    State.OPEN: escalation_pb2.ESCALATION_STATE_OPEN,
    State.ACKNOWLEDGED: escalation_pb2.ESCALATION_STATE_ACKNOWLEDGED,
    State.CLOSED: escalation_pb2.ESCALATION_STATE_CLOSED,
}
_BY_NUMBER = {number: state for state, number in _STATES.items()}
_KINDS = {
    Kind.BREAKER: escalation_pb2.ESCALATION_KIND_BREAKER,
    Kind.HOLD: escalation_pb2.ESCALATION_KIND_HOLD,
    Kind.BLOCKER: escalation_pb2.ESCALATION_KIND_BLOCKER,
    Kind.HELP: escalation_pb2.ESCALATION_KIND_HELP,
    Kind.POLICY: escalation_pb2.ESCALATION_KIND_POLICY,
    Kind.BUDGET: escalation_pb2.ESCALATION_KIND_BUDGET,
}


class EscalationCalls(GovernorServiceServicer):
    """ListEscalations, WatchEscalations, AcknowledgeEscalation."""

    desk: Desk
    finish: Finish
    escalation_feed: Feed

    async def ListEscalations(
        self, request: pb.ListEscalationsRequest, context: Context
    ) -> pb.ListEscalationsResponse:
        """Return a page of escalations by id."""
        state = None
        if request.state != escalation_pb2.ESCALATION_STATE_UNSPECIFIED:
            state = _BY_NUMBER.get(request.state)
            if state is None:
                raise InvalidField(FieldViolation("state", "must be a known EscalationState"))
        size = validate.page_size(request.page_size)
        part = await self.desk.page(page_position(request), size, state)
        shown = next(batches(map(_to_wire, part.found)), [])
        all_fit = len(shown) == len(part.found)
        return pb.ListEscalationsResponse(
            escalations=shown,
            next_page_token=next_page_token(
                request, part.position if all_fit else shown[-1].escalation_id
            ),
        )

    async def WatchEscalations(
        self, request: pb.WatchEscalationsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEscalationsResponse]:
        """Send a snapshot and then each change."""
        after = validate.cursor("after_cursor", request.after_cursor)
        async for step in self.escalation_feed.follow(after):
            events, cursor = _events(step)
            batches = list(_batches(events))
            for number, batch in enumerate(batches, 1):
                # Whoever is cut before the last has not seen all that happened together.
                yield pb.WatchEscalationsResponse(
                    events=batch, cursor=cursor if number == len(batches) else ""
                )

    async def AcknowledgeEscalation(
        self, request: pb.AcknowledgeEscalationRequest, context: Context
    ) -> pb.AcknowledgeEscalationResponse:
        """Note that somebody takes care of an escalation."""
        acknowledged = self.desk.acknowledge(
            validate.require_text("escalation_id", request.escalation_id, least=1, most=_MAX_ID),
            validate.require_text(
                "acknowledged_by", request.acknowledged_by, least=1, most=_MAX_NAME
            ),
            validate.require_text("note", request.note),
        )
        escalation = await self.finish(acknowledged)
        return pb.AcknowledgeEscalationResponse(escalation=_to_wire(escalation))


def _to_wire(escalation: Escalation) -> escalation_pb2.Escalation:
    message = escalation_pb2.Escalation(
        escalation_id=escalation.escalation_id,
        kind=_KINDS[escalation.kind],
        state=_STATES[escalation.state],
        swarm_id=escalation.swarm_id,
        task_id=escalation.task_id,
        summary=escalation.summary,
        level=escalation.level,
        updates=escalation.updates,
        create_time=to_timestamp(escalation.create_time),
        update_time=to_timestamp(escalation.update_time),
        acknowledged_by=escalation.acknowledged_by,
        acknowledgement=escalation.acknowledgement,
        dead_letters=escalation.dead_letters,
    )
    if escalation.close_time is not None:
        message.close_time.CopyFrom(to_timestamp(escalation.close_time))
    return message


def _events(step: Snapshot | Changes | Gap) -> tuple[Iterable[pb.EscalationEvent], str]:
    match step:
        case Snapshot(revision, entries):
            return _snapshot(entry.value for each in entries.values() for entry in each), str(
                revision
            )
        case Changes(revision, updates):
            changed = [
                pb.EscalationEvent(changed=_to_wire(update.value))
                if isinstance(update.value, Escalation)
                else pb.EscalationEvent(removed_id=update.id)
                for update in updates
            ]
            return changed, str(revision)
        case Gap():
            return [pb.EscalationEvent(gap=pb.EscalationGap())], ""


def _snapshot(values: Iterable[object]) -> Iterator[pb.EscalationEvent]:
    for value in values:
        if isinstance(value, Escalation):
            yield pb.EscalationEvent(changed=_to_wire(value))
    yield pb.EscalationEvent(snapshot_end=pb.EscalationSnapshotEnd())


def _batches(events: Iterable[pb.EscalationEvent]) -> Iterator[list[pb.EscalationEvent]]:
    batch: list[pb.EscalationEvent] = []
    for event in events:
        if len(batch) == _EVENTS:
            yield batch
            batch = []
        batch.append(event)
    if batch:
        yield batch
