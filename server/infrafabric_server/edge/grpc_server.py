"""The gRPC server: services, health, reflection, and an orderly end."""

from collections.abc import Callable, Mapping

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from infrafabric_server.config import Address
from infrafabric_server.edge.gate import Gate
from infrafabric_server.edge.interceptor import Interceptor
from infrafabric_server.edge.metrics import CallMetrics

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
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients may send pings of their own, but not more often than this.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


class ListenError(OSError):
    """The server cannot listen at its address; the message says where and what to do."""


class GrpcServer:
    """Serves services until it is drained and stopped."""

    def __init__(
        self,
        address: Address,
        gate: Gate,
        registry: CollectorRegistry,
        services: Mapping[str, Callable[[aio.Server], None]],
    ) -> None:
        """Take where to listen, what to serve, and where calls are counted.

        Args:
            address: where to listen; port 0 for a free one.
            gate: lets calls in; drained and stopped by its owner or by this server.
            registry: takes the metrics `infrafabric_grpc_*`.
            services: full name of each service, and what adds its servicer to a server;
                health and reflection come by themselves.
        """
        self._address = address
        self._gate = gate
        self._services = dict(services)
        self._interceptor = Interceptor(gate, CallMetrics(registry))
        self._health = health.aio.HealthServicer()
        self._server: aio.Server | None = None

    async def start(self) -> int:
        """Begin to serve; return the port.

        Raises:
            ListenError: the address is in use or not of this machine.
        """
        server = aio.server(interceptors=[self._interceptor], options=_OPTIONS)
        for name, add in self._services.items():
            add(server)
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(
            [*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME], server
        )
        try:
            port = server.add_insecure_port(str(self._address))
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
        """End the streams that only watch, and the rest after `grace` seconds at most.

        Implies `drain`. Safe to repeat.
        """
        await self.drain()
        self._gate.stop()
        if self._server is not None:
            await self._server.stop(grace)
