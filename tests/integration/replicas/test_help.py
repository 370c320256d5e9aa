"""G9: help through two servers, one of which dies: as many help as may, and no offer is lost."""

import asyncio
from pathlib import Path

import pytest

from infrafabric import Client
from infrafabric.v1.help_pb2 import HELP_STATE_STAFFED
from infrafabric.v1.task_pb2 import DISPATCH_MANUAL, Task
from tests.harness.cluster import Backing, Cluster
from tests.integration.python_sessions import worker


@pytest.mark.parametrize("dying", [0, 1])
async def test_g9_three_of_fifty_help_and_the_next_leader_offers_what_was_asked_for(
    tmp_path: Path, backing: Backing, dying: int
) -> None:
    prefix = tmp_path.name
    async with (
        Cluster(tmp_path, replicas=2, backing=backing, prefix=prefix) as cluster,
        Client(cluster.replicas[dying].grpc) as doomed,
        Client(cluster.replicas[1 - dying].grpc) as client,
        worker(cluster.replicas[1 - dying].grpc, "rare", swarm_id="idle") as idle,
    ):
        await idle.opened()
        await client.swarms.register("asker", ["a"], max_concurrent_tasks=2)
        for task_id in ("crowd", "late"):
            await client.tasks.create(Task(task_id=task_id, dispatch=DISPATCH_MANUAL))
        crowd, late = [
            (await client.claims.claim("asker", task_id)).task.attempt
            for task_id in ("crowd", "late")
        ]
        request = await client.help.request("asker", "crowd", crowd, "stuck", ["b"])
        async with asyncio.TaskGroup() as group:
            for n in range(50):
                group.create_task(client.swarms.register(f"s{n}", ["a"]))
        answers = await asyncio.gather(
            *((client, doomed)[n % 2].help.accept(f"s{n}", request.help_id) for n in range(50))
        )
        assert sum(each.accepted for each in answers) == 3
        won = {f"s{n}" for n, each in enumerate(answers) if each.accepted}
        (known,) = [each async for each in client.help.list(HELP_STATE_STAFFED)]
        assert {*known.helper_swarm_ids} == won
        # One of the two leads; whichever it is, it dies in one of the two cases.
        request = await doomed.help.request("asker", "late", late, "stuck", ["rare"])
        await cluster.replicas[dying].kill()
        async with asyncio.timeout(30):
            async for told in idle.help_wanted():
                if "idle" in told.asked_swarm_ids:
                    break
        assert told.help_id == request.help_id
        assert (await client.help.accept("idle", request.help_id)).accepted
