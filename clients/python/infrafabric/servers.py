"""The servers of a fabric, any of which can be called."""

from collections.abc import Sequence

import grpc

from infrafabric.v1.chassis_service_pb2_grpc import ChassisServiceStub
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceStub
from infrafabric.v1.notify_service_pb2_grpc import NotifyServiceStub
from infrafabric.v1.witness_service_pb2_grpc import WitnessServiceStub


class Server:
    """One server.

    Args:
        channel: where it is; connects when it is used.

    Attributes:
        chassis: calls of ChassisService.
        coordinator: calls of CoordinatorService.
        governor: calls of GovernorService.
        notify: calls of NotifyService.
        witness: calls of WitnessService.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.chassis = ChassisServiceStub(channel)
        self.coordinator = CoordinatorServiceStub(channel)
        self.governor = GovernorServiceStub(channel)
        self.notify = NotifyServiceStub(channel)
        self.witness = WitnessServiceStub(channel)
        self._channel = channel

    async def connect(self) -> bool:
        """Tell whether there is a connection, once an attempt to have one is over."""
        while True:
            state = self._channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                return True
            if state in (
                grpc.ChannelConnectivity.TRANSIENT_FAILURE,
                grpc.ChannelConnectivity.SHUTDOWN,
            ):
                return False
            await self._channel.wait_for_state_change(state)

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self._channel.close()


class Servers:
    """The servers of one fabric: one is in use until it is left for the next.

    gRPC could be given several addresses itself, but only as numbers of hosts, and would stay
    with a server that refuses every call because it is about to stop.

    Args:
        servers: all of them, at least one.
        first: place of the one to begin with.
    """

    def __init__(self, servers: Sequence[Server], first: int = 0) -> None:
        self._servers = tuple(servers)
        self._place = first

    def __len__(self) -> int:
        return len(self._servers)

    @property
    def current(self) -> Server:
        """The server in use."""
        return self._servers[self._place]

    def leave(self, server: Server) -> None:
        """Use the next server, if it is this one that is in use."""
        if server is self.current:
            self._place = (self._place + 1) % len(self._servers)

    async def connected(self) -> Server:
        """Return the server in use, after leaving those to which there is no connection.

        When there is none to any of them, or only one to choose, the call itself has to tell.
        """
        if len(self) > 1:
            for _ in self._servers:
                server = self.current
                if await server.connect():
                    return server
                self.leave(server)
        return self.current

    async def close(self) -> None:
        """Close all connections; calls under way are cancelled."""
        for server in self._servers:
            await server.close()
