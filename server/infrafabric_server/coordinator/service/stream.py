"""The session stream: one task reads, one writes, and neither waits for the other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from infrafabric.v1 import session_client_pb2, session_server_pb2
from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.frames import ClosingAction, Said
from infrafabric_server.coordinator.link import Ending, SessionLink
from infrafabric_server.coordinator.service import parse
from infrafabric_server.coordinator.service.frames import frame_to_wire
from infrafabric_server.coordinator.service.inbox import Inbox, StatusPort
from infrafabric_server.edge.error_table import as_refusal
from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.limits import MAX_BATCH_BYTES, MAX_FRAMES
from infrafabric_server.store.protocol import StoreError

# How long a stream that has ended may take to send what still waits.
FLUSH_SECONDS = 5.0
# How long a new stream may take to send its first frame.
OPEN_SECONDS = 10.0


class Wire(Protocol):
    """Where responses are written: the context of the call."""

    async def write(self, message: OpenSessionResponse) -> None:
        """Send one message; waits while the reader is slow."""
        ...


async def serve_session(
    coordinator: Coordinator,
    report_status: StatusPort,
    requests: AsyncIterator[OpenSessionRequest],
    wire: Wire,
) -> None:
    """Run one session from its first frame to its end.

    Raises FabricError with the reason for an end that is not the client's own: see the
    contract of OpenSession.
    """
    first, rest = await _first_frame(requests)
    link = await coordinator.sessions.open(parse.opening(first))
    ending = Ending(None)
    try:
        async with asyncio.TaskGroup() as group:
            inbox = Inbox(coordinator, link, report_status, coordinator.background)
            reader = group.create_task(_read(coordinator, link, inbox, rest, requests))
            writer = group.create_task(_write(link, wire))
            await link.ended.wait()
            reader.cancel()
            await asyncio.wait([writer], timeout=FLUSH_SECONDS)
            ending = link.ending_of()
            writer.cancel()
    finally:
        coordinator.sessions.detach(link)
    if ending.error is not None:
        raise ending.error


async def _first_frame(
    requests: AsyncIterator[OpenSessionRequest],
) -> tuple[session_client_pb2.OpenFrame, list[session_client_pb2.ClientFrame]]:
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            request = await anext(requests, None)
    except TimeoutError:
        request = None
    frames = [] if request is None else _frames(request)
    if not frames or frames[0].WhichOneof("frame") != "open":
        raise FabricError(
            Reason.SESSION_PROTOCOL,
            f"the first frame must be `open`, within {OPEN_SECONDS:.0f} seconds",
        )
    return frames[0].open, frames[1:]


def _frames(request: OpenSessionRequest) -> list[session_client_pb2.ClientFrame]:
    if not 1 <= len(request.frames) <= MAX_FRAMES:
        raise InvalidField(FieldViolation("frames", f"must have 1 to {MAX_FRAMES} entries"))
    return list(request.frames)


async def _read(
    coordinator: Coordinator,
    link: SessionLink,
    inbox: Inbox,
    rest: list[session_client_pb2.ClientFrame],
    requests: AsyncIterator[OpenSessionRequest],
) -> None:
    try:
        for frame in rest:
            await inbox.put(frame)
        async for request in requests:
            await coordinator.sessions.keep_alive(link)
            for frame in _frames(request):
                await inbox.put(frame)
    except (FabricError, StoreError) as error:
        refusal = as_refusal(error)
        if refusal is None:
            raise
        action = (
            ClosingAction.RESTART
            if refusal.reason is Reason.SESSION_EXPIRED
            else ClosingAction.RESUME
        )
        link.end(action, refusal.message, refusal)
    else:
        # The client has said all that it has to say: it is still told what becomes of it.
        await inbox.settled()
        link.finish()


async def _write(link: SessionLink, wire: Wire) -> None:
    sequence = 0
    # A resumed session is sent the broadcasts after the cursor, so it passes one only with the
    # message that carries it: what still waits is lost when the stream is cut.
    heard = link.heard
    while True:
        waiting, ending = await link.take(MAX_FRAMES)
        frames: list[session_server_pb2.ServerFrame] = []
        size = 0
        for index, frame in enumerate(waiting):
            message = frame_to_wire(frame, sequence + 1)
            size += message.ByteSize()
            if frames and size > MAX_BATCH_BYTES:
                link.give_back(waiting[index:])
                ending = None
                break
            sequence += 1
            frames.append(message)
            if isinstance(frame, Said):
                heard = frame.revision
        if frames:
            await wire.write(OpenSessionResponse(frames=frames, cursor=str(heard)))
        if ending is not None:
            return
