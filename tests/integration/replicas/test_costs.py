"""Costs through two servers, one of which dies: each is counted once."""

import asyncio
from pathlib import Path

import pytest

from infrafabric import Client
from infrafabric.v1.governor_budget_pb2 import CostDimension, GetCostReportRequest
from tests.harness.cluster import Backing, Cluster

_COSTS = 60


@pytest.mark.parametrize("dying", [0, 1])
async def test_g3_w4_every_cost_counts_once_when_a_server_dies(
    tmp_path: Path, backing: Backing, dying: int
) -> None:
    prefix = tmp_path.name
    async with (
        Cluster(tmp_path, replicas=2, backing=backing, prefix=prefix) as cluster,
        Client(cluster.grpc) as client,
    ):
        await client.swarms.register("w", ["a"])

        async def spend(numbers: range) -> None:
            for number in numbers:
                await client.budgets.track(
                    "w", f"op-{number % 3}", number + 1, request_id=f"cost-{number}"
                )

        await spend(range(_COSTS // 3))
        # One of the two leads; whichever it is, it is killed in one of the two cases.
        async with asyncio.TaskGroup() as group:
            group.create_task(spend(range(_COSTS // 3, _COSTS)))
            group.create_task(cluster.replicas[dying].kill())
        whole = _COSTS * (_COSTS + 1) // 2
        question = GetCostReportRequest(
            group_by=[CostDimension.COST_DIMENSION_OPERATION], swarm_id="w"
        )
        (page,) = [page async for page in client.costs.report(question)]
        assert (page.total.cost_micros, page.total.count) == (whole, _COSTS)
        assert {row.operation: row.count for row in page.rows} == dict.fromkeys(
            ("op-0", "op-1", "op-2"), _COSTS // 3
        )
        assert (await client.budgets.of_swarm("w")).total_micros == whole
        assert (await client.budgets.of_fabric()).total_micros == whole
