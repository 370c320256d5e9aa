"""A session stream without the client library: it says what a test wants, when it wants it."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

import grpc

from infrafabric.errors import FabricError
from infrafabric.refusals import from_rpc_error
from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.session_client_pb2 import ClientFrame, OpenFrame
from infrafabric.v1.session_server_pb2 import OpenedFrame, ReplyFrame, ServerFrame


class StreamOverError(Exception):
    """The stream ended before what was waited for came; the text says how it ended."""


class RawSession:
    """One stream. It is opened and read as long as the block lasts, and then just dropped.

    Args:
        channel: shared with other streams; not closed.
        opening: the first frame.

    Attributes:
        frames: everything that the server said, in order.
        error: how the stream ended; None while it lives, and when it ended well.
    """

    def __init__(self, channel: grpc.aio.Channel, opening: OpenFrame) -> None:
        self.frames: list[ServerFrame] = []
        self.error: FabricError | None = None
        self._opening = opening
        self._stub = CoordinatorServiceStub(channel)
        self._call: grpc.aio.StreamStreamCall[OpenSessionRequest, OpenSessionResponse] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._writing = asyncio.Lock()
        self._over = False
        self._answers: dict[str, asyncio.Future[ReplyFrame]] = {}
        self._asked = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.drop()

    async def open(self) -> OpenedFrame:
        """Open the stream and return the server's welcome."""
        self._call = self._stub.OpenSession(wait_for_ready=True)
        self._reader = asyncio.create_task(self._read())
        await self.say(ClientFrame(open=self._opening))
        return (await self.heard(lambda frame: frame.HasField("opened"))).opened

    async def drop(self) -> None:
        """Cut the stream without a word."""
        assert self._call is not None
        assert self._reader is not None
        self._call.cancel()
        await self._reader

    async def say(self, *frames: ClientFrame) -> None:
        """Write frames as one message; they wait for nothing."""
        assert self._call is not None
        try:
            # gRPC takes one message at a time.
            async with self._writing:
                await self._call.write(OpenSessionRequest(frames=frames))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise StreamOverError(f"the stream of {self._opening.swarm_id} is over") from None

    async def ask(self, *frames: ClientFrame) -> list[ReplyFrame]:
        """Write frames as one message and return the answers in the same order.

        Frames without a request id get one. Raises StreamOverError if an answer is missing.
        """
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[ReplyFrame]] = []
        for frame in frames:
            self._asked += 1
            frame.request_id = frame.request_id or f"q{self._asked}"
            answers.append(self._answers.setdefault(frame.request_id, loop.create_future()))
        await self.say(*frames)
        await asyncio.wait(answers)
        if any(answer.cancelled() for answer in answers):
            raise StreamOverError(f"{self._opening.swarm_id} was cut off from an answer")
        return [answer.result() for answer in answers]

    async def heard(self, wanted: Callable[[ServerFrame], bool]) -> ServerFrame:
        """Return the first frame so far, or the next one, that is `wanted`."""
        return await self.heard_after(0, wanted)

    async def heard_after(self, skip: int, wanted: Callable[[ServerFrame], bool]) -> ServerFrame:
        """Return the first frame that is `wanted`, without the first `skip` frames."""

        def found() -> ServerFrame | None:
            return next((frame for frame in self.frames[skip:] if wanted(frame)), None)

        await self._until(lambda: found() is not None, "a frame")
        frame = found()
        assert frame is not None
        return frame

    async def ended(self) -> FabricError | None:
        """Return how the stream ended, when it has ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._over)
        return self.error

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: condition() or self._over)
        if not condition():
            raise StreamOverError(
                f"{self._opening.swarm_id} waited for {what}; the stream ended: {self.error}"
            )

    async def _read(self) -> None:
        assert self._call is not None
        try:
            async for message in self._call:
                async with self._changed:
                    self._take(message)
                    self._changed.notify_all()
        except grpc.aio.AioRpcError as error:
            self.error = from_rpc_error(error)
        except asyncio.CancelledError:
            # What grpc raises here when the call, and not this task, was cancelled.
            if not self._call.cancelled():
                raise
        async with self._changed:
            self._over = True
            self._changed.notify_all()
        for answer in self._answers.values():
            answer.cancel()

    def _take(self, message: OpenSessionResponse) -> None:
        for frame in message.frames:
            self.frames.append(frame)
            if frame.HasField("reply") and frame.reply.request_id in self._answers:
                self._answers.pop(frame.reply.request_id).set_result(frame.reply)
