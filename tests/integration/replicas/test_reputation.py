"""Attempts through two servers, one of which dies: each counts once, and both rank alike."""

import asyncio
from pathlib import Path

import pytest

from infrafabric import Client
from infrafabric.v1.task_pb2 import DISPATCH_MANUAL
from tests.harness.cluster import Backing, Cluster
from tests.integration.python_sessions import create

_TASKS = 24


@pytest.mark.parametrize("dying", [0, 1])
async def test_x5_d6_every_attempt_counts_once_when_a_server_dies(
    tmp_path: Path, backing: Backing, dying: int
) -> None:
    running = Cluster(tmp_path, replicas=2, backing=backing, prefix=tmp_path.name)
    async with running as cluster, Client(cluster.grpc) as client:
        await client.swarms.register("w", ["a"], max_concurrent_tasks=4)
        tasks = [f"t{number}" for number in range(_TASKS)]
        await create(client, *tasks, dispatch=DISPATCH_MANUAL)

        async def work(task_ids: list[str]) -> None:
            for task_id in task_ids:
                await client.claims.claim("w", task_id)
                await client.claims.complete("w", task_id, 1)

        await work(tasks[:8])
        ranked = []
        for replica in cluster.replicas:
            async with Client(replica.grpc) as each:
                (best,) = (await each.swarms.find_qualified(["a"], explain=True)).candidates
                ranked.append(best.reputation)
        assert ranked == [round(13 / 18 * 1024) / 1024] * 2
        # One of the two leads; whichever it is, it is killed in one of the two cases.
        async with asyncio.TaskGroup() as group:
            group.create_task(work(tasks[8:]))
            group.create_task(cluster.replicas[dying].kill())
        found = (await client.standings.reputation("w")).reputation
        assert found.seen_attempts == pytest.approx(_TASKS, abs=0.01)
        assert found.good_attempts == found.seen_attempts
        (report,) = [each async for each in client.standings.slo_reports("w")]
        assert report.completed_attempts == _TASKS
