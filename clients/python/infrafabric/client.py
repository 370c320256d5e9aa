"""A connection to the fabric, for everything but sessions."""

from typing import Self

import grpc

from infrafabric.calls import Calls
from infrafabric.channel import open_channel
from infrafabric.claims import Claims
from infrafabric.statuses import Statuses
from infrafabric.swarms import Swarms
from infrafabric.tasks import Tasks
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceStub
from infrafabric.v1.notify_service_pb2_grpc import NotifyServiceStub
from infrafabric.v1.witness_service_pb2_grpc import WitnessServiceStub
from infrafabric.witness import Witness


class Client:
    """Calls the fabric's services; each group of calls is an attribute.

    For example::

        async with Client("127.0.0.1:50051") as client:
            task = await client.tasks.create(Task(title="read this"))

    Args:
        target: the server, as `host:port`.
        calls: deadline, sleep and randomness of the calls; None for the usual ones.
        channel: a channel to use instead of plaintext to the target; closed with the client.

    Attributes:
        tasks: create, read, watch, call off and offer tasks.
        claims: claims outside a session, and blockers.
        swarms: register and read swarms, and find the right one.
        statuses: report, read and watch statuses; broadcast a text.
        witness: read the log of decisions.
    """

    def __init__(
        self,
        target: str,
        *,
        calls: Calls | None = None,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        calls = calls or Calls()
        self._channel = channel or open_channel(target)
        coordinator = CoordinatorServiceStub(self._channel)
        self.tasks = Tasks(coordinator, calls)
        self.claims = Claims(coordinator, calls)
        self.swarms = Swarms(coordinator, GovernorServiceStub(self._channel), calls)
        self.statuses = Statuses(NotifyServiceStub(self._channel), calls)
        self.witness = Witness(WitnessServiceStub(self._channel), calls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self._channel.close()
