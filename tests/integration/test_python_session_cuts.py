"""The Python session over a connection that is cut, stalled and lost."""

import asyncio

import pytest

from infrafabric import Client, Session, SessionOptions, errors
from infrafabric.v1.status_pb2 import STATUS_BUSY, STATUS_HELP, AgentStatus, Status
from infrafabric.v1.task_pb2 import DISPATCH_MANUAL, TASK_STATE_COMPLETED
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from tests.harness.proxy import Proxy
from tests.harness.server import ServerProcess
from tests.integration.python_sessions import completions, create, given, worker


async def work_until_cut(session: Session) -> None:
    """Report that the swarm is busy until the session notices that the connection is gone."""
    while session.connected:
        await session.status(STATUS_BUSY)


async def status_until(client: Client, swarm_id: str, status: Status.ValueType) -> AgentStatus:
    async for event in client.statuses.watch():
        for agent in (event.snapshot, event.changed):
            if (agent.swarm_id, agent.status) == (swarm_id, status):
                return agent
    raise AssertionError("the watch ended")


async def test_c10_cut_connection_keeps_the_task(server: ServerProcess, client: Client) -> None:
    async with Proxy(server.grpc) as proxy, worker(proxy.address) as session:
        task = await given(client, session)
        proxy.cut()
        await task.complete()
        assert task.attempt == 1
        assert proxy.accepted == 2
    assert await completions(client) == {"t1": 1}


async def test_c10_lost_welcome_keeps_the_task(server: ServerProcess, client: Client) -> None:
    async with Proxy(server.grpc) as proxy, worker(proxy.address) as session:
        task = await given(client, session)
        # The next stream is cut within what the server says first: it has resumed the session,
        # and the client has not heard of it.
        proxy.cut_after = 100
        proxy.cut()
        await task.complete()
        assert (task.attempt, proxy.accepted) == (1, 3)
    resumed = QueryEntriesRequest(operation="session_resumed")
    assert len([entry async for entry in client.witness.query(resumed)]) == 2
    assert (await client.tasks.get("t1")).attempt == 1


async def test_c10_stalled_connection_is_left_in_time_to_keep_the_task(
    server: ServerProcess, client: Client
) -> None:
    async with Proxy(server.grpc) as proxy, worker(proxy.address) as session:
        task = await given(client, session)
        proxy.stall()
        completion = asyncio.create_task(task.complete())
        await work_until_cut(session)
        proxy.cut()
        proxy.flow()
        await completion
        assert not task.revoked.is_set()
    assert (await client.tasks.get("t1")).attempt == 1


async def test_c1_c10_every_task_is_completed_once_over_many_cuts(
    server: ServerProcess, client: Client
) -> None:
    names = [f"t{number:02}" for number in range(40)]
    async with Proxy(server.grpc) as proxy:
        sessions = [worker(proxy.address, slots=4, swarm_id=f"w{n}") for n in range(3)]

        async def work(session: Session) -> None:
            async with session:
                async for task in session:
                    await task.progress(25)
                    await task.complete({"by": task.attempt})

        workers = [asyncio.create_task(work(session)) for session in sessions]
        for session in sessions:
            await session.opened()
        await create(client, *names)
        cuts = 0
        left = set(names)
        async for event in client.tasks.watch():
            changed = event.changed if event.HasField("changed") else event.snapshot
            if changed.state == TASK_STATE_COMPLETED and changed.task_id in left:
                left.discard(changed.task_id)
                if not left:
                    break
                if len(left) % 4 == 0:
                    proxy.cut()
                    cuts += 1
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    assert cuts >= 5
    assert await completions(client) == dict.fromkeys(names, 1)


# In etcd a lease goes on while its only server is started again.
@pytest.mark.parametrize("server", ["30"], indirect=True)
async def test_c10_n9_server_that_is_killed_finds_the_work_done(
    server: ServerProcess, client: Client
) -> None:
    async with worker(server.grpc) as session:
        task = await given(client, session)
        await server.kill()
        await work_until_cut(session)
        assert await session.status(STATUS_HELP, message="is anyone there?") is None
        assert await session.status(STATUS_BUSY, task_id="t1") is None
        completion = asyncio.create_task(task.complete())
        await server.start()
        await completion
        assert task.attempt == 1
        await session.status(STATUS_HELP, message="what next?")
        agent = await status_until(client, "w1", STATUS_HELP)
        assert agent.message == "what next?"
    assert await completions(client) == {"t1": 1}


async def test_n9_last_status_is_sent_when_the_server_is_back(
    server: ServerProcess, client: Client
) -> None:
    async with worker(server.grpc) as session:
        await session.opened()
        await server.stop()
        await work_until_cut(session)
        assert await session.status(STATUS_HELP, message="need rust") is None
        await server.start()
        agent = await status_until(client, "w1", STATUS_HELP)
    assert agent.message == "need rust"


async def test_c10_silent_session_loses_its_task_to_another(
    server: ServerProcess, client: Client
) -> None:
    async with Proxy(server.grpc) as proxy, worker(proxy.address) as lost:
        first = await given(client, lost)
        proxy.stall()
        async with worker(server.grpc, swarm_id="w2") as other:
            second = await anext(other)
            assert (second.task_id, second.attempt) == ("t1", 2)
            proxy.cut()
            proxy.flow()
            await first.revoked.wait()
            with pytest.raises(errors.ClaimVoid):
                await first.complete()
            await second.complete()
    assert await completions(client) == {"t1": 1}


async def test_broadcast_of_a_cut_is_heard_after_it(server: ServerProcess, client: Client) -> None:
    async with Proxy(server.grpc) as proxy, worker(proxy.address) as session:
        await session.opened()
        await client.statuses.broadcast("one")
        assert (await anext(session.broadcasts())).message == "one"
        proxy.refusing = True
        proxy.cut()
        await client.statuses.broadcast("two")
        proxy.refusing = False
        assert (await anext(session.broadcasts())).message == "two"


async def test_token_of_a_killed_process_keeps_its_claims(
    server: ServerProcess, client: Client
) -> None:
    async with Proxy(server.grpc) as proxy:
        async with worker(proxy.address) as first:
            await given(client, first)
            token = first.resume_token
            proxy.refusing = True
            proxy.cut()
            await work_until_cut(first)
        options = SessionOptions(resume_token=token)
        second = Session(server.grpc, swarm_id="w1", capabilities=["a"], options=options)
        async with second:
            task = await anext(second)
            assert (task.task_id, task.attempt) == ("t1", 1)
            await task.complete()
    assert await completions(client) == {"t1": 1}


async def test_u3_watch_resumes_over_a_cut_without_loss(
    server: ServerProcess, client: Client
) -> None:
    seen = []
    async with Proxy(server.grpc) as proxy, Client(proxy.address) as watcher:
        async for event in watcher.tasks.watch():
            if event.HasField("snapshot_end"):
                await create(client, "t0", dispatch=DISPATCH_MANUAL)
            if event.HasField("changed"):
                seen.append(event.changed.task_id)
                if len(seen) == 10:
                    break
                proxy.cut()
                await create(client, f"t{len(seen)}", dispatch=DISPATCH_MANUAL)
    assert seen == [f"t{number}" for number in range(10)]
