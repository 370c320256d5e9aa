"""A server whose handlers do what a test says."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import aio
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from infrafabric.v1 import coordinator_service_pb2, notify_service_pb2
from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from infrafabric.v1.coordinator_service_pb2_grpc import (
    CoordinatorServiceStub,
)
from infrafabric.v1.notify_service_pb2 import (
    GetStatusRequest,
    GetStatusResponse,
    NotifyRequest,
    NotifyResponse,
    WatchStatusRequest,
    WatchStatusResponse,
)
from infrafabric.v1.notify_service_pb2_grpc import (
    NotifyServiceStub,
)
from infrafabric_server.edge.calls import Context
from infrafabric_server.edge.grpc_server import GrpcServer, Service

NOTIFY = notify_service_pb2.DESCRIPTOR.services_by_name["NotifyService"].full_name
COORDINATOR = coordinator_service_pb2.DESCRIPTOR.services_by_name["CoordinatorService"].full_name

# In quotes: at run time the class takes no parameters.
Handlers: TypeAlias = "dict[str, grpc.RpcMethodHandler[Any, Any]]"


async def nothing(*_: Any) -> None:
    """Do nothing."""


@dataclass
class Probe:
    """Handlers of each kind; what they do is set by the test."""

    unary: Callable[[Context], Awaitable[None]] = nothing
    watch: Callable[[], AsyncGenerator[WatchStatusResponse, None]] | None = None
    session: Callable[[AsyncIterator[OpenSessionRequest], Context], Awaitable[None]] = nothing

    def services(self) -> list[Service]:
        """Return the services that the handlers belong to."""
        notify: Handlers = {
            "Notify": grpc.unary_unary_rpc_method_handler(
                self._notify, NotifyRequest.FromString, NotifyResponse.SerializeToString
            ),
            "GetStatus": grpc.unary_unary_rpc_method_handler(
                self._get_status, GetStatusRequest.FromString, GetStatusResponse.SerializeToString
            ),
            "WatchStatus": grpc.unary_stream_rpc_method_handler(
                self._watch_status,
                WatchStatusRequest.FromString,
                WatchStatusResponse.SerializeToString,
            ),
        }
        coordinator: Handlers = {
            "OpenSession": grpc.stream_stream_rpc_method_handler(
                self.session, OpenSessionRequest.FromString, OpenSessionResponse.SerializeToString
            ),
        }
        return [_service(NOTIFY, notify), _service(COORDINATOR, coordinator)]

    async def _notify(self, request: NotifyRequest, context: Context) -> NotifyResponse:
        await self.unary(context)
        return NotifyResponse(queue_position=len(request.message))

    async def _get_status(self, _: GetStatusRequest, context: Context) -> GetStatusResponse:
        await self.unary(context)
        return GetStatusResponse(total_agents=7)

    async def _watch_status(
        self, _: WatchStatusRequest, _context: Context
    ) -> AsyncIterator[WatchStatusResponse]:
        assert self.watch is not None
        async with aclosing(self.watch()) as responses:
            async for response in responses:
                yield response


def _service(name: str, handlers: Handlers) -> Service:
    generic = grpc.method_handlers_generic_handler(name, handlers)
    return Service(name, lambda server: server.add_generic_rpc_handlers((generic,)))


@dataclass(frozen=True)
class Served:
    """A running server, its figures, and clients of it."""

    server: GrpcServer
    registry: CollectorRegistry
    port: int
    channel: aio.Channel
    notify: NotifyServiceStub
    coordinator: CoordinatorServiceStub

    def calls(self, method: str, code: str) -> float:
        """Return how many calls of a method ended with a code."""
        labels = {"method": method, "code": code}
        return self.registry.get_sample_value("infrafabric_grpc_calls_total", labels) or 0.0


@asynccontextmanager
async def served(probe: Probe) -> AsyncIterator[Served]:
    """Run a server on a free port until the block ends."""
    registry = CollectorRegistry()
    server = GrpcServer("127.0.0.1:0", probe.services(), registry)
    port = await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(
                server,
                registry,
                port,
                channel,
                NotifyServiceStub(channel),
                CoordinatorServiceStub(channel),
            )
    finally:
        await server.stop(0)


def reason_of(error: aio.AioRpcError) -> str:
    """Return the reason that an error carries, without its prefix; empty if it has none."""
    # The function reads code, details and metadata, which errors of both kinds have.
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # see above
    info = ErrorInfo()
    if status is not None and status.details and status.details[0].Unpack(info):
        return info.reason.removeprefix("ERROR_REASON_")
    return ""


def refusal(error: aio.AioRpcError) -> tuple[grpc.StatusCode, str]:
    """Return the code and the reason of an error."""
    return error.code(), reason_of(error)
