"""The gRPC server: services, health, reflection, and an orderly end."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from infrafabric_server.edge.gate import Gate
from infrafabric_server.edge.interceptor import Interceptor
from infrafabric_server.edge.metrics import CallMetrics
from infrafabric_server.store.second_look import CatchUp

# Time in which those who watch the health hear NOT_SERVING, before their streams end.
NOTICE_SECONDS = 0.1

_MESSAGE_BYTES = 4 * 1024 * 1024

_OPTIONS = (
    # A second server on the same port is refused instead of taking half of the calls.
    ("grpc.so_reuseport", 0),
    # When thousands of sessions reconnect at once, the defaults refuse most of them.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    # A peer that vanished without a word is noticed after a minute and a half at most;
    # a session is given up sooner, when its lease ends.
    ("grpc.keepalive_time_ms", 60_000),
    # gRPC's keepalive timeout is never applied (grpc/grpc#39239): that of pings is.
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients look every four seconds whether a silent server still runs; more often is a fault.
    ("grpc.http2.min_ping_interval_without_data_ms", 3_000),
)


class ListenError(OSError):
    """The server cannot listen at its address; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service to serve: its full name, and what adds its servicer to a server."""

    name: str
    add: Callable[[aio.Server], None]


class GrpcServer:
    """Serves services until it is drained and stopped."""

    def __init__(
        self,
        address: str,
        services: Sequence[Service],
        registry: CollectorRegistry,
        catch_up: CatchUp | None = None,
    ) -> None:
        """Take where to listen, what to serve, and where calls are counted.

        Args:
            address: `HOST:PORT`, port 0 for a free one, or `unix:PATH`.
            services: all services but health and reflection, which are added.
            registry: takes the metrics `infrafabric_grpc_*`.
            catch_up: given when other replicas acknowledge things, too.
        """
        self._address = address
        self._services = tuple(services)
        self._gate = Gate()
        self._interceptor = Interceptor(self._gate, CallMetrics(registry), catch_up)
        self._health = health.aio.HealthServicer()
        self._server: aio.Server | None = None

    @property
    def draining(self) -> bool:
        """Whether no new work is taken."""
        return self._gate.draining

    async def start(self) -> int:
        """Begin to serve; return the port, which for a unix socket means nothing.

        Raises:
            ListenError: the address is in use or not of this machine.
        """
        server = aio.server(interceptors=[self._interceptor], options=_OPTIONS)
        for service in self._services:
            service.add(server)
            await self._health.set(service.name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [service.name for service in self._services]
        reflection.enable_server_reflection(
            [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server
        )
        try:
            port = server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise ListenError(
                f"cannot listen at {self._address}: the address is in use, or not of this"
                " machine; stop what listens there, or choose another one"
            ) from error
        await server.start()
        self._server = server
        return port

    async def drain(self) -> None:
        """Report NOT_SERVING and refuse what changes something; calls under way go on."""
        self._gate.drain()
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        """End the streams that only watch, wait for the calls under way, and stop listening.

        Implies `drain`: until the calls under way have ended, new ones are told to go
        elsewhere. What has not ended after `grace` seconds is cut off. Safe to repeat, also
        while another `stop` waits.
        """
        await self.drain()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        await asyncio.sleep(min(NOTICE_SECONDS, grace))
        self._gate.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._gate.idle()
        if self._server is not None:
            await self._server.stop(max(0.0, deadline - loop.time()))
