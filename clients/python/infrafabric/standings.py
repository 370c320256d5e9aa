"""How swarms keep their service levels, and what they are worth by what they have done."""

from collections.abc import AsyncIterator

from infrafabric.calls import Caller
from infrafabric.v1 import chassis_slo_pb2 as pb2


class Standings:
    """Reading service levels and reputations; made by `Client`."""

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def slo_reports(self, swarm_id: str = "") -> AsyncIterator[pb2.SloReport]:
        """Iterate over how swarms keep their service levels.

        Args:
            swarm_id: only this swarm; "" is all that are registered, by id.
        """
        request = pb2.GetSloReportRequest(swarm_id=swarm_id)
        async for page in self._calls.pages(lambda at: at.chassis.GetSloReport, request):
            for report in page.reports:
                yield report

    async def reputation(self, swarm_id: str) -> pb2.GetReputationResponse:
        """Return what a swarm is worth, and its history.

        Args:
            swarm_id: the swarm.
        """
        request = pb2.GetReputationRequest(swarm_id=swarm_id)
        return await self._calls.unary(lambda at: at.chassis.GetReputation, request)
