"""CoordinatorService."""

from collections.abc import AsyncIterator

from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.service.claims import ClaimCalls
from infrafabric_server.coordinator.service.inbox import StatusPort
from infrafabric_server.coordinator.service.stream import serve_session
from infrafabric_server.coordinator.service.swarms import SwarmCalls
from infrafabric_server.coordinator.service.tasks import TaskCalls
from infrafabric_server.edge.calls import Context
from infrafabric_server.store.feed import Feed


class CoordinatorServicer(SwarmCalls, TaskCalls, ClaimCalls):
    """All calls of the coordinator."""

    def __init__(
        self, coordinator: Coordinator, task_feed: Feed, report_status: StatusPort
    ) -> None:
        self.coordinator = coordinator
        self.task_feed = task_feed
        self._report_status = report_status

    # The stubs know only generators. A coroutine that writes can give up on a reader that
    # never reads; a generator would hang in its `yield`.
    async def OpenSession(  # type: ignore[override]  # see above
        self,
        request_iterator: AsyncIterator[OpenSessionRequest],
        context: Context,
    ) -> None:
        """Serve the one stream of a swarm."""
        await serve_session(self.coordinator, self._report_status, request_iterator, context)
