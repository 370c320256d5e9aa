"""A proxy for session streams that knows frames, and cuts a stream at the one it was asked to."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import cycle
from typing import Any, Self

import grpc
from grpc import aio

from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.session_client_pb2 import ClientFrame
from infrafabric.v1.session_server_pb2 import ServerFrame, TaskDelivery

# Given to a frame that asks for no answer, so that its effect can be waited for.
_ASKED = "asked-by-the-proxy"


class Side(Enum):
    """Who says a frame."""

    CLIENT = ClientFrame
    SERVER = ServerFrame

    @property
    def kinds(self) -> list[str]:
        """All kinds of frames that this side can say, by the contract."""
        names = [field.name for field in self.value.DESCRIPTOR.oneofs_by_name["frame"].fields]
        if self is Side.CLIENT:
            return names
        # A task comes for different reasons, which have to do with different claims.
        deliveries = [_task_kind(number) for number in TaskDelivery.values() if number]
        return [name for name in names if name != "task"] + deliveries


def _task_kind(delivery: TaskDelivery.ValueType) -> str:
    return f"task_{TaskDelivery.Name(delivery).removeprefix('TASK_DELIVERY_').lower()}"


def _kind(frame: ServerFrame) -> str:
    kind = frame.WhichOneof("frame") or ""
    return _task_kind(frame.task.delivery) if kind == "task" else kind


class When(Enum):
    """When a stream is cut.

    BEFORE: the frame is lost. AFTER: the frame has arrived. For a frame of the client that
    means that its effect is committed, and that nothing which follows from it comes through.
    """

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a stream is cut: at the first frame of a kind."""

    side: Side
    kind: str
    when: When

    def __str__(self) -> str:
        return f"{self.side.name.lower()}-{self.kind}-{self.when.value}"


@dataclass(slots=True, eq=False)
class Course:
    """The streams of one run of the scenario: where they are cut, and what passed them."""

    cut: Cut | None
    done: bool = False
    passed: set[str] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def due(self, side: Side, kind: str) -> When | None:
        """Return when the stream is to be cut at this frame, None if it is not."""
        cut = self.cut
        if self.done or cut is None or (cut.side, cut.kind) != (side, kind):
            return None
        self.done = True
        return cut.when

    def note(self, kind: str) -> None:
        """Note that a frame of the client passed."""
        self.passed.add(kind)
        self._changed.set()

    async def saw(self, kind: str) -> None:
        """Return when a frame of this kind has passed from the client to the server."""
        while kind not in self.passed:
            self._changed.clear()
            await self._changed.wait()


@dataclass(frozen=True, slots=True)
class _End:
    """How a stream ends for the client."""

    code: grpc.StatusCode
    details: str = ""
    metadata: tuple[tuple[str, str | bytes], ...] = ()


_CUT = _End(grpc.StatusCode.UNAVAILABLE, "cut by the test")
# The client hung up while something was written to it: nobody is left to be told.
_GONE = _End(grpc.StatusCode.OK)


class FrameProxy:
    """Serves OpenSession by passing frames on; each swarm has its course.

    Args:
        targets: addresses of the servers; streams go to them in turn.
    """

    def __init__(self, targets: Iterable[str]) -> None:
        self.courses: dict[str, Course] = {}
        self.address = ""
        # A server that restarts is to be found again at once.
        options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.min_reconnect_backoff_ms", 50)]
        self._channels = [aio.insecure_channel(target, options=options) for target in targets]
        self._turns = cycle(self._channels)
        self._server = aio.server()

    async def __aenter__(self) -> Self:
        method = grpc.stream_stream_rpc_method_handler(
            self._open_session, OpenSessionRequest.FromString, OpenSessionResponse.SerializeToString
        )
        name = "infrafabric.v1.CoordinatorService"
        handler = grpc.method_handlers_generic_handler(name, {"OpenSession": method})
        self._server.add_generic_rpc_handlers((handler,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._server.stop(0)
        for channel in self._channels:
            await channel.close()

    async def _open_session(
        self,
        request_iterator: AsyncIterator[OpenSessionRequest],
        context: aio.ServicerContext[Any, Any],
    ) -> None:
        """Pass a stream on until either side ends it, or its course says to cut it."""
        first = await anext(request_iterator)
        course = self.courses[first.frames[0].open.swarm_id]
        call = CoordinatorServiceStub(next(self._turns)).OpenSession()
        stream = _Stream(course, call, context)
        try:
            async with asyncio.TaskGroup() as group:
                ways = [
                    group.create_task(stream.upwards(first, request_iterator)),
                    group.create_task(stream.downwards()),
                ]
                end = await stream.end
                # A message that is being written is written to its end.
                async with stream.writing:
                    for way in ways:
                        way.cancel()
        finally:
            call.cancel()
        if end.code is not grpc.StatusCode.OK:
            await context.abort(end.code, end.details, end.metadata)


class _Stream:
    """One stream through the proxy."""

    def __init__(self, course: Course, call: Any, context: aio.ServicerContext[Any, Any]) -> None:
        self.end: asyncio.Future[_End] = asyncio.get_running_loop().create_future()
        self.writing = asyncio.Lock()
        self._course = course
        self._call = call
        self._context = context
        # The answer after which the stream is cut; until then nothing comes through.
        self._awaited: tuple[str, str] | None = None

    async def upwards(
        self, first: OpenSessionRequest, requests: AsyncIterator[OpenSessionRequest]
    ) -> None:
        """Pass on what the client says."""
        try:
            await self._say(first)
            async for request in requests:
                await self._say(request)
            await self._call.done_writing()
        except (aio.AioRpcError, asyncio.InvalidStateError):
            pass  # The stream has ended; the way down knows how.

    async def _say(self, request: OpenSessionRequest) -> None:
        for index, frame in enumerate(request.frames):
            kind = frame.WhichOneof("frame") or ""
            when = self._course.due(Side.CLIENT, kind)
            if when is When.BEFORE:
                await self._pass(request.frames[:index])
                self._finish(_CUT)
            elif when is When.AFTER:
                frame.request_id = frame.request_id or _ASKED
                self._awaited = _answer(kind, frame.request_id)
                await self._pass(request.frames[: index + 1])
            if when is not None:
                # What the client says after this is lost.
                await asyncio.get_running_loop().create_future()
        await self._pass(request.frames)

    async def _pass(self, frames: Iterable[ClientFrame]) -> None:
        frames = list(frames)
        if frames:
            await self._call.write(OpenSessionRequest(frames=frames))
        for frame in frames:
            self._course.note(frame.WhichOneof("frame") or "")

    async def downwards(self) -> None:
        """Pass on what the server says."""
        try:
            while (response := await self._call.read()) is not aio.EOF:
                if self._comes_through(response):
                    async with self.writing:
                        await self._context.write(response)
                if self.end.done():
                    return
            code, details = await self._call.code(), await self._call.details()
            end = _End(code, details or "", tuple(await self._call.trailing_metadata() or ()))
        except aio.AioRpcError as error:
            metadata = tuple(error.trailing_metadata() or ())
            end = _End(error.code(), error.details() or "", metadata)
        except aio.InternalError:
            end = _GONE
        self._finish(_CUT if self._awaited is not None else end)

    def _comes_through(self, response: OpenSessionResponse) -> bool:
        """Tell whether a message reaches the client, which has all of it or nothing."""
        if self._awaited is not None:
            if any(_is_answer(frame, self._awaited) for frame in response.frames):
                self._finish(_CUT)
            return False
        for frame in response.frames:
            when = self._course.due(Side.SERVER, _kind(frame))
            if when is not None:
                self._finish(_CUT)
                return when is When.AFTER
        return True

    def _finish(self, end: _End) -> None:
        if not self.end.done():
            self.end.set_result(end)


def _answer(kind: str, request_id: str) -> tuple[str, str]:
    """Return the kind of the answer to a frame, and the request id in it."""
    return {"open": ("opened", ""), "heartbeat": ("heartbeat", "")}.get(kind, ("reply", request_id))


def _is_answer(frame: ServerFrame, awaited: tuple[str, str]) -> bool:
    return (frame.WhichOneof("frame"), frame.reply.request_id) == awaited
