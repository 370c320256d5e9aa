"""WitnessService: the log of decisions, for reading."""

import re
from collections.abc import AsyncIterator

from infrafabric.v1.entry_pb2 import Entry as WireEntry
from infrafabric.v1.witness_service_pb2 import (
    QueryEntriesRequest,
    QueryEntriesResponse,
    TailEntriesRequest,
    TailEntriesResponse,
)
from infrafabric.v1.witness_service_pb2_grpc import WitnessServiceServicer
from infrafabric_server.edge.batches import batches
from infrafabric_server.edge.calls import Context
from infrafabric_server.edge.paging import invalid_page_token, next_page_token, page_position
from infrafabric_server.edge.struct_json import object_to_struct
from infrafabric_server.edge.times import from_timestamp, to_timestamp
from infrafabric_server.edge.validate import optional_id, page_size, require_int
from infrafabric_server.witness.models import Entry, EntryFilter
from infrafabric_server.witness.witness import IFWitness, Place

_MAX_SEQUENCE = 2**63 - 2
_POSITION = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


class WitnessService(WitnessServiceServicer):
    """Translates the calls of the contract; see there."""

    def __init__(self, witness: IFWitness) -> None:
        self._witness = witness

    async def QueryEntries(
        self, request: QueryEntriesRequest, context: Context
    ) -> QueryEntriesResponse:
        """List entries by sequence, oldest first."""
        wanted = EntryFilter(
            component=optional_id("component", request.component),
            operation=optional_id("operation", request.operation),
            swarm_id=optional_id("swarm_id", request.swarm_id),
            task_id=optional_id("task_id", request.task_id),
            after=from_timestamp("after", request.after) if request.HasField("after") else None,
            before=from_timestamp("before", request.before) if request.HasField("before") else None,
        )
        size = page_size(request.page_size)
        page = await self._witness.query(wanted, _place(page_position(request)), size)
        entries = next(batches(map(_message, page.entries)), [])
        more = page.more or len(entries) < len(page.entries)
        position = f"{entries[-1].sequence}-{page.upto}" if more else ""
        return QueryEntriesResponse(
            entries=entries, next_page_token=next_page_token(request, position)
        )

    async def TailEntries(
        self, request: TailEntriesRequest, context: Context
    ) -> AsyncIterator[TailEntriesResponse]:
        """Send entries from a point on, then each new one as it is sealed."""
        wanted = EntryFilter(
            component=optional_id("component", request.component),
            operation=optional_id("operation", request.operation),
            swarm_id=optional_id("swarm_id", request.swarm_id),
            task_id=optional_id("task_id", request.task_id),
        )
        after = None
        if request.HasField("after_sequence"):
            after = require_int("after_sequence", request.after_sequence, 0, _MAX_SEQUENCE)
        async for entries in self._witness.tail(wanted, after):
            for messages in batches(map(_message, entries)):
                yield TailEntriesResponse(entries=messages)


def _place(position: str) -> Place | None:
    if not position:
        return None
    found = _POSITION.fullmatch(position)
    if found is None:
        raise invalid_page_token()
    return Place(int(found[1]), int(found[2]))


def _message(entry: Entry) -> WireEntry:
    message = WireEntry(
        sequence=entry.sequence,
        entry_id=entry.entry_id,
        decide_time=to_timestamp(entry.decide_time),
        component=entry.component,
        operation=entry.operation,
        swarm_id=entry.swarm_id,
        task_id=entry.task_id,
        attempt=entry.attempt,
        body=entry.body,
        previous_hash=entry.previous_hash,
        hash=entry.hash,
    )
    object_to_struct(entry.details, message.details)
    return message
