"""Calls about money: charge costs, limit accounts, read how they stand."""

from collections.abc import AsyncIterator

from infrafabric.calls import Caller
from infrafabric.v1 import governor_budget_pb2 as pb2
from infrafabric.v1.budget_pb2 import BUDGET_PERIOD_UNSPECIFIED, BudgetPeriod, BudgetReport


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
        request_id: str = "",
    ) -> pb2.TrackCostResponse:
        """Charge a cost to a swarm, and with a task to the reservation of its claim.

        Args:
            swarm_id: who spent it.
            operation: what for, such as `llm.completion`.
            cost_micros: how much, in micro-US-dollars, 1 to 10^12.
            task_id: task that it was for; empty for a cost of the swarm itself.
            attempt: attempt of the claim, with a task.
            request_id: id of this call, so that a repeat within 24 hours charges nothing; without
                one the call is made once, and an error may leave open whether it was charged.
        """
        request = pb2.TrackCostRequest(
            swarm_id=swarm_id,
            operation=operation,
            cost_micros=cost_micros,
            task_id=task_id,
            attempt=attempt,
            request_id=request_id,
        )
        return await self._calls.unary(lambda at: at.governor.TrackCost, request)

    async def limit_swarm(
        self,
        swarm_id: str,
        limit_micros: int | None,
        *,
        period: BudgetPeriod.ValueType = BUDGET_PERIOD_UNSPECIFIED,
        time_zone: str = "",
        soft_share: float = 0,
    ) -> BudgetReport:
        """Set what a swarm may spend; what it has spent stays.

        Args:
            swarm_id: whose account.
            limit_micros: the most in a period, in micro-US-dollars; None means unlimited.
            period: how often it is renewed; UNSPECIFIED means never.
            time_zone: IANA name of the zone in which periods begin; empty means UTC.
            soft_share: share of the limit that warns, above 0, at most 1; 0 means the policy's.
        """
        return await self._set(
            pb2.SetBudgetRequest(
                swarm_id=swarm_id,
                limit_micros=limit_micros,
                period=period,
                time_zone=time_zone,
                soft_share=soft_share,
            )
        )

    async def limit_fabric(
        self,
        limit_micros: int | None,
        *,
        period: BudgetPeriod.ValueType = BUDGET_PERIOD_UNSPECIFIED,
        time_zone: str = "",
        soft_share: float = 0,
    ) -> BudgetReport:
        """Set what all swarms may spend together; the arguments are those of `limit_swarm`."""
        return await self._set(
            pb2.SetBudgetRequest(
                fabric=True,
                limit_micros=limit_micros,
                period=period,
                time_zone=time_zone,
                soft_share=soft_share,
            )
        )

    async def limit_task(self, task_id: str, limit_micros: int | None) -> BudgetReport:
        """Set what all attempts of a task may spend together; None means unlimited."""
        return await self._set(pb2.SetBudgetRequest(task_id=task_id, limit_micros=limit_micros))

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

    async def _set(self, request: pb2.SetBudgetRequest) -> BudgetReport:
        return (await self._calls.unary(lambda at: at.governor.SetBudget, request)).budget

    async def _one(self, request: pb2.GetBudgetReportRequest) -> BudgetReport:
        return (await self._calls.unary(lambda at: at.governor.GetBudgetReport, request)).budgets[0]
