"""Calls about money: charge costs, limit accounts, read how they stand."""

from collections.abc import AsyncIterator

from infrafabric.calls import Caller
from infrafabric.v1 import governor_budget_pb2 as pb2
from infrafabric.v1.budget_pb2 import BudgetReport


class Budgets:
    """Accounts of swarms, of tasks and of the whole fabric, as GovernorService knows them.

    Every method may raise the FabricErrors that its RPC lists.
    """

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def track(
        self,
        swarm_id: str,
        operation: str,
        cost_micros: int,
        *,
        task_id: str = "",
        attempt: int = 0,
        help_id: str = "",
        request_id: str = "",
    ) -> pb2.TrackCostResponse:
        """Charge a cost to a swarm: to the reservation of its claim, or of a task it helps with.

        Args:
            swarm_id: who spent it.
            operation: what for, such as `llm.completion`.
            cost_micros: how much, in micro-US-dollars, 1 to 10^12.
            task_id: task that it was for; empty for a cost of the swarm itself.
            attempt: attempt of the claim, with a task.
            help_id: request for help that it was for, without a task; charged to whoever asked.
            request_id: id of this call, so that a repeat within 24 hours charges nothing; without
                one the call is made once, and an error may leave open whether it was charged.
        """
        request = pb2.TrackCostRequest(
            swarm_id=swarm_id,
            operation=operation,
            cost_micros=cost_micros,
            task_id=task_id,
            attempt=attempt,
            help_id=help_id,
            request_id=request_id,
        )
        return await self._calls.unary(lambda at: at.governor.TrackCost, request)

    async def limit(self, terms: pb2.SetBudgetRequest) -> BudgetReport:
        """Set what an account may spend, and return how it stands then; what it spent stays.

        Args:
            terms: whose account, the limit in micro-US-dollars (none is unlimited), and how it
                is renewed.
        """
        return (await self._calls.unary(lambda at: at.governor.SetBudget, terms)).budget

    async def of_swarm(self, swarm_id: str) -> BudgetReport:
        """Return how the account of a swarm stands."""
        return await self._one(pb2.GetBudgetReportRequest(swarm_id=swarm_id))

    async def of_task(self, task_id: str) -> BudgetReport:
        """Return what a task has spent and may spend, over all its attempts."""
        return await self._one(pb2.GetBudgetReportRequest(task_id=task_id))

    async def of_fabric(self) -> BudgetReport:
        """Return how the account of the whole fabric stands."""
        return await self._one(pb2.GetBudgetReportRequest(fabric=True))

    async def list(self) -> AsyncIterator[BudgetReport]:
        """Iterate over the fabric's account, then those with a limit or a cost, by id."""
        request = pb2.GetBudgetReportRequest()
        async for page in self._calls.pages(lambda at: at.governor.GetBudgetReport, request):
            for report in page.budgets:
                yield report

    async def _one(self, request: pb2.GetBudgetReportRequest) -> BudgetReport:
        return (await self._calls.unary(lambda at: at.governor.GetBudgetReport, request)).budgets[0]
