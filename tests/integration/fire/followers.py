"""Readers that stop reading, and later catch up with all that was said meanwhile."""

from typing import Protocol

import grpc

from infrafabric.errors import QueueOverflow
from infrafabric.refusals import from_rpc_error
from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.notify_service_pb2 import WatchStatusRequest, WatchStatusResponse
from infrafabric.v1.notify_service_pb2_grpc import NotifyServiceStub
from infrafabric.v1.session_client_pb2 import ClientFrame, OpenFrame


class Follower(Protocol):
    """Hears what is said to everyone, when it reads.

    `texts` is what it has heard, `overflows` how often its stream ended because it was slow.
    """

    texts: list[str]
    overflows: int
    cuts: int

    async def begin(self) -> None:
        """Open the stream, or resume it, and read its first message."""

    async def read(self) -> None:
        """Read one message. Raises AioRpcError at the end."""


class SessionFollower:
    """A session of a swarm."""

    def __init__(self, channel: grpc.aio.Channel, swarm_id: str) -> None:
        self.texts: list[str] = []
        self.overflows = 0
        self.cuts = 0
        self._stub = CoordinatorServiceStub(channel)
        self._opening = OpenFrame(swarm_id=swarm_id)

    async def begin(self) -> None:
        """Open the stream with the token and the cursor of what was read."""
        self._call = self._stub.OpenSession()
        await self._call.write(OpenSessionRequest(frames=[ClientFrame(open=self._opening)]))
        await self.read()

    async def read(self) -> None:
        """Read one message."""
        message = await self._call.read()
        assert isinstance(message, OpenSessionResponse), "the stream ended well"
        self._opening.resume_after = message.cursor or self._opening.resume_after
        for frame in message.frames:
            if frame.HasField("opened"):
                assert frame.opened.resumed or not self._opening.resume_token
                self._opening.resume_token = frame.opened.resume_token
            if frame.HasField("broadcast"):
                self.texts.append(frame.broadcast.message)


class WatchFollower:
    """A watch of statuses."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.texts: list[str] = []
        self.overflows = 0
        self.cuts = 0
        self._stub = NotifyServiceStub(channel)
        self._cursor = ""

    async def begin(self) -> None:
        """Open the watch after what was read."""
        self._call = self._stub.WatchStatus(WatchStatusRequest(after_cursor=self._cursor))
        if not self._cursor:
            await self.read()

    async def read(self) -> None:
        """Read one message."""
        message = await self._call.read()
        assert isinstance(message, WatchStatusResponse), "the stream ended well"
        for event in message.events:
            assert not event.HasField("gap")
            self._cursor = event.cursor or self._cursor
            if event.HasField("broadcast"):
                self.texts.append(event.broadcast.message)


async def catch_up(follower: Follower, last: str) -> None:
    """Read until the text `last`, and resume whenever the stream ended for slowness.

    On a slow machine a connection is silent for so long that the server takes it for gone.
    """
    while last not in follower.texts[-1:]:
        try:
            await follower.read()
        except grpc.aio.AioRpcError as error:
            if isinstance(from_rpc_error(error), QueueOverflow):
                follower.overflows += 1
            elif error.details() == "ping timeout":
                follower.cuts += 1
            else:
                raise
            await follower.begin()
