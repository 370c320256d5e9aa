"""Calls about swarms: register, read, forget, and find the right one."""

from collections.abc import AsyncIterator, Iterable

from infrafabric.calls import Caller
from infrafabric.v1 import coordinator_swarm_pb2 as pb2
from infrafabric.v1.governor_service_pb2 import (
    FindQualifiedSwarmRequest,
    FindQualifiedSwarmResponse,
)
from infrafabric.v1.match_pb2 import MatchMetric
from infrafabric.v1.swarm_pb2 import Swarm


class Swarms:
    """Swarms, as CoordinatorService and GovernorService know them.

    Every method may raise the FabricErrors that its RPC lists.
    """

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def register(
        self,
        swarm_id: str,
        capabilities: Iterable[str],
        *,
        cost_per_hour_micros: int = 0,
        model: str = "",
        max_concurrent_tasks: int = 1,
        credential_pool: str = "",
    ) -> Swarm:
        """Make a swarm known, or replace its registration.

        Args:
            swarm_id: its id.
            capabilities: what it can do, at most 64.
            cost_per_hour_micros: price of an hour in micro-US-dollars.
            model: model that it runs on, at most 128 characters.
            max_concurrent_tasks: tasks that it works on at the same time, 1 to 64.
            credential_pool: account at a provider that it shares; "" for one of its own.
        """
        request = pb2.RegisterSwarmRequest(
            swarm_id=swarm_id,
            capabilities=capabilities,
            cost_per_hour_micros=cost_per_hour_micros,
            model=model,
            max_concurrent_tasks=max_concurrent_tasks,
            credential_pool=credential_pool,
        )
        return (await self._calls.unary(lambda at: at.coordinator.RegisterSwarm, request)).swarm

    async def get(self, swarm_id: str) -> Swarm:
        """Return a swarm."""
        request = pb2.GetSwarmRequest(swarm_id=swarm_id)
        return (await self._calls.unary(lambda at: at.coordinator.GetSwarm, request)).swarm

    async def list(self) -> AsyncIterator[Swarm]:
        """Iterate over all swarms by id, page by page."""
        request = pb2.ListSwarmsRequest()
        async for page in self._calls.pages(lambda at: at.coordinator.ListSwarms, request):
            for swarm in page.swarms:
                yield swarm

    async def deregister(self, swarm_id: str) -> tuple[str, ...]:
        """Forget a swarm; return the tasks that went back."""
        request = pb2.DeregisterSwarmRequest(swarm_id=swarm_id)
        response = await self._calls.unary(lambda at: at.coordinator.DeregisterSwarm, request)
        return tuple(response.released_task_ids)

    async def find_qualified(
        self,
        required_capabilities: Iterable[str],
        *,
        max_cost_per_hour_micros: int | None = None,
        max_task_cost_micros: int | None = None,
        metric: MatchMetric.ValueType = MatchMetric.MATCH_METRIC_UNSPECIFIED,
        explain: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> FindQualifiedSwarmResponse:
        """Find the best registered swarm for a set of capabilities.

        Args:
            required_capabilities: what it should be able to do, at most 64.
            max_cost_per_hour_micros: most that an hour may cost, in micro-US-dollars; None
                means no limit.
            max_task_cost_micros: what the task may cost in total, which a swarm's budget must
                cover; None means the policy's default.
            metric: how capabilities are compared; as the policy says, if it is not given.
            explain: whether the answer lists candidates and the swarms that were left out.
            page_size: with explain, most exclusions, 1 to 1000; 0 means 20.
            page_token: with explain, the `next_page_token` of the answer before.
        """
        request = FindQualifiedSwarmRequest(
            required_capabilities=required_capabilities,
            max_cost_per_hour_micros=max_cost_per_hour_micros,
            max_task_cost_micros=max_task_cost_micros,
            metric=metric,
            explain=explain,
            page_size=page_size,
            page_token=page_token,
        )
        return await self._calls.unary(lambda at: at.governor.FindQualifiedSwarm, request)
