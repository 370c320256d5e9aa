"""A fabric with work under way moves from a server's folder to etcd and NATS, and back."""

import asyncio
from pathlib import Path

import pytest

from infrafabric import Client, Session, errors
from infrafabric.v1.task_pb2 import DISPATCH_AUTO, TASK_STATE_COMPLETED, Task
from tests.harness.cluster import Backing
from tests.harness.server import COMMAND, ServerProcess
from tests.integration.fire.evidence import completions, owners, verify

_LEASE = {"INFRAFABRIC_LEASE_SECONDS": "2"}


def worker(server: ServerProcess, swarm_id: str) -> Session:
    return Session(server.grpc, swarm_id=swarm_id, capabilities=["a"], slots=1)


def task(task_id: str, title: str = "work") -> Task:
    return Task(task_id=task_id, title=title, required_capabilities=["a"], dispatch=DISPATCH_AUTO)


async def store(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        COMMAND, "store", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, complaint = await process.communicate()
    assert process.returncode == 0, complaint
    return output.decode()


async def test_work_goes_on_where_the_fabric_is_now(tmp_path: Path) -> None:
    """C6, C12, C1: ages, attempts, answers and the log go on over both moves."""
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    with Backing(tmp_path) as backing:
        places = backing.arguments("moved")
        first = ServerProcess(tmp_path / "one", environment=_LEASE)
        second = ServerProcess(tmp_path / "two", arguments=places, environment=_LEASE)
        third = ServerProcess(tmp_path / "three", environment=_LEASE)
        await _begin(first)
        moved = await store(
            *("migrate", "--from", str(first.data), "--to", places[1], *places[2:]),
            *("--dump", str(tmp_path / "there.dump")),
        )
        assert moved.startswith("migrated")
        async with second:
            await _go_on(second)
            await second.stop()
        await store(
            *("migrate", "--from", places[1], "--to", str(third.data), *places[2:]),
            *("--dump", str(tmp_path / "back.dump")),
        )
        async with third:
            await _end(third)
            await third.stop()
        assert "verified" in await verify("--data", third.data)


async def _begin(server: ServerProcess) -> None:
    async with server, Client(server.grpc) as client:
        # Made in this order, which is not that of their names.
        for task_id in ("oldest", "middle", "latest"):
            await client.tasks.create(task(task_id), request_id=f"make-{task_id}")
        async with worker(server, "ann") as ann:
            await (await anext(ann)).complete({"by": "ann"}, cost_micros=70)
            held = await anext(ann)
            assert (held.task_id, held.attempt) == ("middle", 1)
            # A crash: nobody says goodbye, and the session's key is still there.
            await server.kill()


async def _go_on(server: ServerProcess) -> None:
    async with Client(server.grpc) as client:
        again = await client.tasks.create(task("oldest"), request_id="make-oldest")
        assert (again.task_id, again.state) == ("oldest", TASK_STATE_COMPLETED)
        async with worker(server, "bob") as bob:
            taken = await anext(bob)
            # Taken back from ann, it is the oldest still, under the next attempt.
            assert (taken.task_id, taken.attempt) == ("middle", 2)
            await taken.complete({"by": "bob"})
        with pytest.raises(errors.FabricError, match="attempt"):
            await client.claims.complete("ann", "middle", 1)


async def _end(server: ServerProcess) -> None:
    async with Client(server.grpc) as client:
        async with worker(server, "cat") as cat:
            taken = await anext(cat)
            assert taken.task_id == "latest"
            await taken.complete()
        assert await completions(client) == {"oldest": 1, "middle": 2, "latest": taken.attempt}
        assert (await owners(client))["middle", 2] == "bob"
        (page,) = [page async for page in client.statuses.pages()]
        totals = {
            agent.swarm_id: (agent.tasks_completed, agent.cost_spent_micros)
            for agent in page.agents
        }
        # Counted once each, over two sets of revisions.
        assert totals["ann"] == (1, 70)
        assert totals["bob"][0] == 1
