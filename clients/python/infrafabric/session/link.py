"""Carries the protocol over one gRPC stream after another."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import grpc

from infrafabric import backoff
from infrafabric.errors import FabricError, Unreachable
from infrafabric.refusals import from_rpc_error
from infrafabric.session.events import Event
from infrafabric.session.protocol import BrokenStreamError, SessionProtocol, State
from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub

# A stream that lived so long was worth opening: after its end the pauses begin anew. They must
# not reach the length of a lease only because the network drops out now and then.
_PROVEN_SECONDS = 1.0

Stream = grpc.aio.StreamStreamCall[OpenSessionRequest, OpenSessionResponse]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the link takes from outside.

    Attributes:
        channel: opens a new channel for each stream.
        clock: returns seconds that never go back.
        sleep: waits for some seconds.
        random: returns a number in [0, 1).
    """

    channel: Callable[[], grpc.aio.Channel]
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]


class Owner(Protocol):
    """Who is told what happens on the stream."""

    def handle(self, events: list[Event]) -> None:
        """Handle what the server said."""
        ...

    def disconnected(self, error: FabricError | None) -> None:
        """Note that there is no stream at the moment."""
        ...


class Link:
    """Keeps a stream open until the protocol stops.

    Args:
        protocol: what is said on the stream.
        owner: who is told.
        wake: set when there may be something to write.
        surroundings: channel, clock and randomness.
    """

    def __init__(
        self,
        protocol: SessionProtocol,
        owner: Owner,
        wake: asyncio.Event,
        surroundings: Surroundings,
    ) -> None:
        self._protocol = protocol
        self._owner = owner
        self._wake = wake
        self._around = surroundings

    async def run(self) -> None:
        """Open stream after stream, with growing pauses while they fail."""
        failures = 0
        while not self._stopped():
            began = self._around.clock()
            error = await self._stream()
            self._owner.handle(self._protocol.cut(error))
            if self._stopped():
                return
            self._owner.disconnected(error)
            if self._around.clock() - began > _PROVEN_SECONDS:
                failures = 0
            asked = error.retry_after if error else None
            await self._around.sleep(backoff.wait(failures, self._around.random, asked))
            failures += 1

    def _stopped(self) -> bool:
        return self._protocol.state is State.STOPPED

    async def _stream(self) -> FabricError | None:
        first = self._protocol.connect()
        async with self._around.channel() as channel:
            call = CoordinatorServiceStub(channel).OpenSession()
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write(call, first))
                try:
                    return await self._read(call)
                finally:
                    writer.cancel()
                    call.cancel()

    async def _read(self, call: Stream) -> FabricError | None:
        try:
            while True:
                async with asyncio.timeout(self._protocol.silence_limit):
                    message = await call.read()
                if not isinstance(message, OpenSessionResponse):
                    return None
                self._owner.handle(self._protocol.receive(message, self._around.clock()))
                self._wake.set()
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
        except TimeoutError:
            return Unreachable(f"nothing came for {self._protocol.silence_limit:.1f} s")
        except BrokenStreamError as error:
            return Unreachable(f"the stream is broken: {error}")

    async def _write(self, call: Stream, first: OpenSessionRequest) -> None:
        try:
            await call.write(first)
            while True:
                self._wake.clear()
                while message := self._protocol.flush(self._around.clock()):
                    await call.write(message)
                await self._pause()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the stream is over; the reader is told how it ended

    async def _pause(self) -> None:
        due = self._protocol.next_wakeup()
        pause = None if due is None else max(0.0, due - self._around.clock())
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            return
