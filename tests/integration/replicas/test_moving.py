"""Clients of several servers go on at another one when theirs ends, drains or hangs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from infrafabric import Calls, Client, Session, SessionOptions, TaskHandle
from infrafabric.v1.task_pb2 import DISPATCH_MANUAL, TASK_STATE_COMPLETED, Task
from tests.harness.cluster import Backing, Cluster
from tests.harness.server import ServerProcess

# The silence of a server is noticed after two thirds of it, and leaves time to go on elsewhere.
LEASE_SECONDS = "6"


@pytest.fixture
async def cluster(tmp_path: Path, backing: Backing) -> AsyncIterator[Cluster]:
    """Two servers."""
    environment = {"INFRAFABRIC_LEASE_SECONDS": LEASE_SECONDS}
    async with Cluster(
        tmp_path, replicas=2, backing=backing, prefix=tmp_path.name, environment=environment
    ) as it:
        yield it


async def dies(server: ServerProcess) -> None:
    await server.kill()


async def drains(server: ServerProcess) -> None:
    assert await server.stop() == 0


async def hangs(server: ServerProcess) -> None:
    server.pause()


ends = pytest.mark.parametrize("end", [dies, drains, hangs])
End = Callable[[ServerProcess], Awaitable[None]]


def client_of(cluster: Cluster) -> Client:
    """Return a client that begins with the first server."""
    return Client(cluster.grpc, calls=Calls(random=lambda: 0.0))


def worker_of(cluster: Cluster, swarm_id: str = "worker") -> Session:
    """Return a session that begins with the first server."""
    options = SessionOptions(random=lambda: 0.0)
    return Session(cluster.grpc, swarm_id=swarm_id, capabilities=["a"], options=options)


async def given(client: Client, worker: Session) -> TaskHandle:
    """Create a task at the other server, and return it as it comes to the worker."""
    await worker.opened()
    await client.tasks.create(Task(task_id="t", required_capabilities=["a"]))
    return await anext(worker)


@ends
async def test_u6_a_session_keeps_its_task(cluster: Cluster, end: End) -> None:
    first, second = cluster.replicas
    async with Client(second.grpc) as client, worker_of(cluster) as worker:
        task = await given(client, worker)
        await end(first)
        await task.progress(50, "half way")
        await task.complete({"at": "the other one"})
        assert not task.revoked.is_set()
        stored = await client.tasks.get("t")
        assert (stored.state, stored.attempt) == (TASK_STATE_COMPLETED, 1)
        # It gets work and hears what is said to everyone where it is now.
        await client.tasks.create(Task(task_id="next", required_capabilities=["a"]))
        assert (await anext(worker)).task_id == "next"
        await client.statuses.broadcast("all well")
        assert (await anext(worker.broadcasts())).message == "all well"


async def test_c10_a_server_that_wakes_up_speaks_for_nobody(cluster: Cluster) -> None:
    first, second = cluster.replicas
    async with Client(second.grpc) as client, worker_of(cluster) as worker:
        task = await given(client, worker)
        first.pause()
        await task.complete()
        first.resume()
        # It has heard by now that the session is elsewhere: its own end of it does nothing.
        async with Client(first.grpc) as late:
            assert (await late.tasks.get("t")).state == TASK_STATE_COMPLETED
        await client.tasks.create(Task(task_id="next", required_capabilities=["a"]))
        assert (await anext(worker)).task_id == "next"
        assert (await client.swarms.get("worker")).connected


@ends
async def test_u6_calls_are_answered(cluster: Cluster, end: End) -> None:
    async with client_of(cluster) as client:
        await client.tasks.create(Task(task_id="t", dispatch=DISPATCH_MANUAL))
        await end(cluster.replicas[0])
        assert (await client.tasks.get("t")).task_id == "t"
        await client.tasks.create(Task(task_id="after", dispatch=DISPATCH_MANUAL))
        assert [task.task_id async for task in client.tasks.list()] == ["after", "t"]


@ends
async def test_n10_a_watch_misses_nothing(cluster: Cluster, end: End) -> None:
    first, second = cluster.replicas
    async with client_of(cluster) as client, Client(second.grpc) as other:
        events = client.tasks.watch()
        async with asyncio.timeout(30):
            while not (await anext(events)).HasField("snapshot_end"):
                pass
            await other.tasks.create(Task(task_id="before", dispatch=DISPATCH_MANUAL))
            assert (await anext(events)).changed.task_id == "before"
            await end(first)
            for number in range(3):
                await other.tasks.create(Task(task_id=f"t{number}", dispatch=DISPATCH_MANUAL))
            seen = [(await anext(events)).changed.task_id for _ in range(3)]
    assert seen == ["t0", "t1", "t2"]
