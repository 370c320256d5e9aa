"""The calls about service levels and reputations."""

import asyncio

from infrafabric.v1 import chassis_slo_pb2 as pb
from infrafabric.v1.chassis_service_pb2_grpc import ChassisServiceServicer
from infrafabric_server.chassis.reports import Reports
from infrafabric_server.chassis.service.standing_wire import (
    point_to_wire,
    reputation_to_wire,
    slo_to_wire,
)
from infrafabric_server.edge import paging, validate
from infrafabric_server.edge.calls import Context

# Swarms that are reported in one turn of the event loop: some milliseconds.
_TURN = 16


class StandingCalls(ChassisServiceServicer):
    """GetSloReport and GetReputation."""

    reports: Reports

    async def GetSloReport(
        self, request: pb.GetSloReportRequest, context: Context
    ) -> pb.GetSloReportResponse:
        """Return how swarms keep their service levels."""
        size = validate.page_size(request.page_size)
        after = paging.page_position(request)
        if validate.optional_id("swarm_id", request.swarm_id):
            return pb.GetSloReportResponse(
                reports=[slo_to_wire(self.reports.slo(request.swarm_id))]
            )
        page = self.reports.page(after, size + 1)
        response = pb.GetSloReportResponse(
            next_page_token=paging.next_page_token(
                request, page[size - 1] if len(page) > size else ""
            )
        )
        for place, each in enumerate(page[:size], 1):
            # It may have been deregistered in the turns of others.
            if (report := self.reports.find(each)) is not None:
                response.reports.append(slo_to_wire(report))
            if place % _TURN == 0:
                await asyncio.sleep(0)
        return response

    async def GetReputation(
        self, request: pb.GetReputationRequest, context: Context
    ) -> pb.GetReputationResponse:
        """Return what a swarm is worth, and was."""
        found = self.reports.reputation(validate.require_id("swarm_id", request.swarm_id))
        return pb.GetReputationResponse(
            reputation=reputation_to_wire(found),
            history=[point_to_wire(each) for each in found.history],
        )
