"""Calls about costs: what was spent on what, and what of it was in vain."""

from collections.abc import AsyncIterator

from infrafabric.calls import Caller
from infrafabric.v1 import governor_budget_pb2 as pb2


class Costs:
    """Costs, as GovernorService knows them.

    Every method may raise the FabricErrors that its RPC lists.
    """

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def report(
        self, question: pb2.GetCostReportRequest | None = None
    ) -> AsyncIterator[pb2.GetCostReportResponse]:
        """Iterate over the pages of a report, the dearest rows first; each has the total.

        Args:
            question: which costs, and what the rows are; None for the total of all alone.
        """
        request = pb2.GetCostReportRequest()
        if question is not None:
            request.CopyFrom(question)
        async for page in self._calls.pages(lambda at: at.governor.GetCostReport, request):
            yield page
