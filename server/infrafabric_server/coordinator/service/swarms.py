"""The calls about swarms."""

from infrafabric.v1 import coordinator_swarm_pb2 as pb
from infrafabric.v1 import swarm_pb2
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceServicer
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.registration import Joining
from infrafabric_server.coordinator.service import parse
from infrafabric_server.coordinator.service.wire import profile_to_wire
from infrafabric_server.edge import validate
from infrafabric_server.edge.calls import Context
from infrafabric_server.edge.paging import next_page_token, page_position
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.limits import MAX_MODEL, MAX_SLOTS


class SwarmCalls(CoordinatorServiceServicer):
    """RegisterSwarm, GetSwarm, ListSwarms and DeregisterSwarm."""

    coordinator: Coordinator

    async def RegisterSwarm(
        self,
        request: pb.RegisterSwarmRequest,
        context: Context,
    ) -> pb.RegisterSwarmResponse:
        """Make a swarm known, or replace its registration."""
        slots = validate.require_int(
            "max_concurrent_tasks", request.max_concurrent_tasks, 0, MAX_SLOTS
        )
        joining = Joining(
            swarm_id=validate.require_id("swarm_id", request.swarm_id),
            capabilities=validate.require_capabilities("capabilities", request.capabilities),
            cost_per_hour_micros=validate.require_money(
                "cost_per_hour_micros", request.cost_per_hour_micros
            ),
            model=validate.require_text("model", request.model, most=MAX_MODEL),
            max_concurrent_tasks=slots or 1,
            credential_pool=parse.credential_pool("credential_pool", request.credential_pool),
        )
        profile = await self.coordinator.background.finish(
            self.coordinator.registration.register(joining)
        )
        return pb.RegisterSwarmResponse(swarm=self._swarm(profile))

    async def GetSwarm(
        self,
        request: pb.GetSwarmRequest,
        context: Context,
    ) -> pb.GetSwarmResponse:
        """Return one swarm."""
        swarm_id = validate.require_id("swarm_id", request.swarm_id)
        profile = self.coordinator.records.fleet.swarms.get(swarm_id)
        if profile is None:
            raise FabricError(Reason.SWARM_NOT_FOUND, f"no swarm has the id {swarm_id}")
        return pb.GetSwarmResponse(swarm=self._swarm(profile))

    async def ListSwarms(
        self,
        request: pb.ListSwarmsRequest,
        context: Context,
    ) -> pb.ListSwarmsResponse:
        """Return a page of swarms, by id."""
        size = validate.page_size(request.page_size)
        page = self.coordinator.records.fleet.swarms.page(page_position(request), size + 1)
        last = page[size - 1].id if len(page) > size else ""
        return pb.ListSwarmsResponse(
            swarms=[self._swarm(entry.value) for entry in page[:size]],
            next_page_token=next_page_token(request, last),
        )

    async def DeregisterSwarm(
        self,
        request: pb.DeregisterSwarmRequest,
        context: Context,
    ) -> pb.DeregisterSwarmResponse:
        """Forget a swarm and give its tasks back."""
        swarm_id = validate.require_id("swarm_id", request.swarm_id)
        released = await self.coordinator.background.finish(
            self.coordinator.registration.deregister(swarm_id)
        )
        return pb.DeregisterSwarmResponse(released_task_ids=released)

    def _swarm(self, profile: SwarmProfile) -> swarm_pb2.Swarm:
        session = self.coordinator.records.fleet.sessions.entry(profile.swarm_id)
        return profile_to_wire(
            profile,
            epoch=session.mod_revision if session is not None else 0,
            claimed=self.coordinator.held_by(profile.swarm_id),
        )
