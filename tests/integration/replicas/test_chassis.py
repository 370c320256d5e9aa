"""The chassis of two servers: what one has loaded the other runs, and each task is run by one."""

import asyncio
from collections import Counter
from pathlib import Path

from infrafabric import Client
from infrafabric.v1.task_pb2 import TASK_STATE_COMPLETED, Task
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from infrafabric.values import from_struct, to_struct
from tests.harness.cluster import Backing, Cluster
from tests.integration.guests import OBEDIENT, workers

_SWARMS = ("s1", "s2", "s3")
_TASKS = 30


async def test_x1_c1_two_servers_share_modules_and_run_each_task_once(
    tmp_path: Path, backing: Backing
) -> None:
    async with Cluster(tmp_path, replicas=2, backing=backing, prefix=tmp_path.name) as cluster:
        one, other = cluster.replicas
        async with Client(one.grpc) as here, Client(other.grpc) as there:
            for swarm_id in _SWARMS:
                await here.swarms.register(swarm_id, ["wasm"])
                await here.chassis.load(swarm_id, OBEDIENT)
            ended = await there.chassis.execute("s1", "run", {"do": "echo"})
            assert from_struct(ended.result) == {"do": "echo"}
            assert workers(other.pid)

            tasks = [
                Task(
                    task_id=f"t-{number:02}",
                    chassis_swarm_id=_SWARMS[number % len(_SWARMS)],
                    input=to_struct({"do": "echo", "number": number}),
                )
                for number in range(_TASKS)
            ]
            await there.tasks.create_all(tasks)
            left = {task.task_id for task in tasks}
            async with asyncio.timeout(30):
                async for event in here.tasks.watch():
                    for seen in (event.snapshot, event.changed):
                        if seen.state == TASK_STATE_COMPLETED:
                            assert seen.attempt == 1
                            assert from_struct(seen.result)["number"] == int(seen.task_id[2:])
                            left.discard(seen.task_id)
                    if not left:
                        break

            runs = QueryEntriesRequest(component="chassis", operation="task_executed")
            async with asyncio.timeout(10):
                while True:
                    counts = Counter([each.task_id async for each in here.witness.query(runs)])
                    if len(counts) > _TASKS:
                        break
            assert set(counts.values()) == {1}
