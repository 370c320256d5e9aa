"""A real gRPC server that answers a session as the model of the fabric does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from tests.unit.client.fabric_model import FabricModel

Context = grpc.aio.ServicerContext[
    AsyncIterator[OpenSessionRequest], AsyncIterator[OpenSessionResponse]
]


class ScriptedServer:
    """Serves one swarm from a model.

    Attributes:
        model: what tests script and look into.
        port: where it listens; kept over stops.
        silent: while set, nothing is answered though the stream stays open.
    """

    def __init__(self) -> None:
        self.model = FabricModel(lease=1.5)
        self.port = 0
        self.silent = False
        self._end_with: status_pb2.Status | None = None
        self._changed = asyncio.Event()
        self._received = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(
            self._open_session,
            OpenSessionRequest.FromString,
            OpenSessionResponse.SerializeToString,
        )
        service = grpc.method_handlers_generic_handler(
            "infrafabric.v1.CoordinatorService", {"OpenSession": handler}
        )
        self._server.add_generic_rpc_handlers((service,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Cut every stream and stop listening."""
        assert self._server is not None
        await self._server.stop(None)

    def changed(self) -> None:
        """Send what the model has to say."""
        self._changed.set()

    def end_with(self, status: status_pb2.Status) -> None:
        """End the stream with a rich status."""
        self._end_with = status
        self._changed.set()

    async def seen(self, condition: Callable[[FabricModel], object]) -> None:
        """Return when what clients have said makes the condition true."""
        while not condition(self.model):
            self._received.clear()
            await self._received.wait()

    async def _open_session(
        self, request_iterator: AsyncIterator[OpenSessionRequest], context: Context
    ) -> AsyncIterator[OpenSessionResponse]:
        reader = asyncio.create_task(self._read(request_iterator))
        try:
            while self._end_with is None:
                self._changed.clear()
                while not self.silent and (message := self.model.take()):
                    yield message
                if self.model.closed:
                    return
                await self._changed.wait()
            status, self._end_with = self._end_with, None
            await context.abort_with_status(rpc_status.to_status(status))
        finally:
            reader.cancel()
            self.model.cut()

    async def _read(self, requests: AsyncIterator[OpenSessionRequest]) -> None:
        async for request in requests:
            self.model.receive(request)
            self._changed.set()
            self._received.set()


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """Start a scripted server, and stop it at the end."""
    server = ScriptedServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
