"""The Python session against the real server, over a connection that is cut, stalled and lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infrafabric import Client, Session, SessionOptions, TaskHandle, errors
from infrafabric.v1.session_client_pb2 import SESSION_ROLE_ORCHESTRATOR
from infrafabric.v1.session_server_pb2 import REVOKE_REASON_CANCELLED
from infrafabric.v1.status_pb2 import STATUS_BUSY, STATUS_HELP, STATUS_IDLE, AgentStatus, Status
from infrafabric.v1.task_pb2 import (
    DISPATCH_AUTO,
    DISPATCH_BROADCAST,
    DISPATCH_MANUAL,
    TASK_STATE_AVAILABLE,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    Dispatch,
    Task,
)
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from tests.harness.proxy import Proxy
from tests.harness.server import ServerProcess


@pytest.fixture
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ServerProcess]:
    lease: str = getattr(request, "param", "3")
    async with ServerProcess(tmp_path, environment={"INFRAFABRIC_LEASE_SECONDS": lease}) as it:
        yield it


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[Client]:
    async with Client(server.grpc) as it:
        yield it


def worker(target: str, *capabilities: str, slots: int = 1, swarm_id: str = "w1") -> Session:
    return Session(target, swarm_id=swarm_id, capabilities=capabilities or ("a",), slots=slots)


async def create(
    client: Client, *task_ids: str, dispatch: Dispatch.ValueType = DISPATCH_AUTO
) -> None:
    await client.tasks.create_all(
        Task(task_id=task_id, title=task_id, required_capabilities=["a"], dispatch=dispatch)
        for task_id in task_ids
    )


async def given(client: Client, session: Session, task_id: str = "t1") -> TaskHandle:
    """Create a task and return what reaches the session of it."""
    await session.opened()
    await create(client, task_id)
    return await anext(session)


async def work_until_cut(session: Session) -> None:
    """Report that the swarm is busy until the session notices that the connection is gone."""
    while session.connected:
        await session.status(STATUS_BUSY)


async def completions(client: Client) -> dict[str, int]:
    """Return how often each task was completed, from the record of decisions."""
    counts: dict[str, int] = {}
    filters = QueryEntriesRequest(operation="task_completed")
    async for entry in client.witness.query(filters):
        counts[entry.task_id] = counts.get(entry.task_id, 0) + 1
    return counts


async def status_until(client: Client, swarm_id: str, status: Status.ValueType) -> AgentStatus:
    async for event in client.statuses.watch():
        for agent in (event.snapshot, event.changed):
            if (agent.swarm_id, agent.status) == (swarm_id, status):
                return agent
    raise AssertionError("the watch ended")


async def test_c4_assigned_work_arrives_and_is_completed(
    server: ServerProcess, client: Client
) -> None:
    async with worker(server.grpc) as session:
        await session.opened()
        task = Task(task_id="t1", required_capabilities=["a"])
        task.input.update({"pages": 3})
        await client.tasks.create(task)
        handle = await anext(session)
        assert (handle.task_id, handle.attempt, handle.input) == ("t1", 1, {"pages": 3})
        await handle.progress(50, "half way", next_action="the rest")
        await handle.complete({"words": 1200}, cost_micros=250_000)
    done = await client.tasks.get("t1")
    assert (done.state, done.owner_swarm_id) == (TASK_STATE_COMPLETED, "w1")
    assert (done.cost_micros, done.result["words"]) == (250_000, 1200)


async def test_c7_dependent_task_is_pushed_when_the_last_one_completes(
    server: ServerProcess,
) -> None:
    board = [
        Task(task_id="second", required_capabilities=["a"], dependencies=["first"]),
        Task(task_id="first", required_capabilities=["a"]),
    ]
    order = []
    async with worker(server.grpc) as session:
        await session.opened()
        assert await session.create(board) == ["second", "first"]
        for _ in range(2):
            task = await anext(session)
            order.append(task.task_id)
            await task.complete()
    assert order == ["first", "second"]


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


async def test_second_stream_of_a_swarm_fences_the_first(
    server: ServerProcess, client: Client
) -> None:
    async with worker(server.grpc) as first:
        old = await given(client, first)
        async with worker(server.grpc) as second:
            new = await anext(second)
            assert (new.task_id, new.attempt) == ("t1", 2)
            with pytest.raises(errors.SessionFenced):
                await anext(first)
            with pytest.raises(errors.SessionFenced):
                await old.complete()
            await new.complete()
    assert await completions(client) == {"t1": 1}


async def test_c11_cancelled_task_stops_the_work_on_it(
    server: ServerProcess, client: Client
) -> None:
    async with worker(server.grpc) as session:
        task = await given(client, session)
        async with task.guard():
            await client.tasks.cancel("t1", "not needed")
            await asyncio.Event().wait()
        assert task.lost is not None
        assert task.lost.reason == REVOKE_REASON_CANCELLED
    assert (await client.tasks.get("t1")).state == TASK_STATE_CANCELLED


async def test_c11_failed_task_comes_back_with_a_higher_attempt(
    server: ServerProcess, client: Client
) -> None:
    async with worker(server.grpc) as session:
        await (await given(client, session)).fail("the network was down")
        again = await anext(session)
        assert again.attempt == 2
        await again.fail("no attempt can succeed", permanent=True)
    failed = await client.tasks.get("t1")
    assert (failed.state, failed.reason) == (TASK_STATE_FAILED, "no attempt can succeed")


async def test_c5_offers_are_claimed_or_declined(server: ServerProcess, client: Client) -> None:
    picky = Session(
        server.grpc,
        swarm_id="picky",
        capabilities=["a"],
        on_offer=lambda task: task.task_id == "good",
    )
    async with picky:
        await picky.opened()
        await create(client, "bad", dispatch=DISPATCH_BROADCAST)
        await create(client, "good", dispatch=DISPATCH_BROADCAST)
        assert (await anext(picky)).task_id == "good"
    assert (await client.tasks.get("bad")).state == TASK_STATE_AVAILABLE


async def test_c1_claims_of_many_sessions_have_one_winner(
    server: ServerProcess, client: Client
) -> None:
    sessions = [worker(server.grpc, swarm_id=f"w{number}") for number in range(8)]
    await create(client, "t1", dispatch=DISPATCH_MANUAL)

    async def attempt(session: Session) -> TaskHandle | None:
        async with session:
            outcome = await session.claim("t1")
            if outcome.task is None:
                assert outcome.owner_swarm_id
            else:
                await finished.wait()
            return outcome.task

    finished = asyncio.Event()
    claims = [asyncio.create_task(attempt(session)) for session in sessions]
    losers = asyncio.as_completed(claims)
    for _ in range(len(sessions) - 1):
        assert await next(losers) is None
    finished.set()
    winner = await next(losers)
    assert winner is not None


async def test_c6_c9_blocker_reaches_the_orchestrator_and_brings_a_filler(
    server: ServerProcess, client: Client
) -> None:
    orchestrator = Session(server.grpc, swarm_id="boss", role=SESSION_ROLE_ORCHESTRATOR)
    async with orchestrator, worker(server.grpc) as session:
        await orchestrator.opened()
        own = await given(client, session, "own")
        filler = Task(task_id="filler", required_capabilities=["a"], filler=True)
        await client.tasks.create(filler)
        blocker = await own.block("need the spec", needs=["writing"])
        alert = await anext(orchestrator.alerts())
        assert (alert.blocker_id, alert.description) == (blocker.blocker_id, "need the spec")
        assert (await anext(session)).task_id == "filler"
        await client.claims.resolve_blocker("w1", task_id="own", resolution="sent")
        assert await anext(session) is own
        await own.complete()
        resolved = await anext(orchestrator.alerts())
        assert resolved.HasField("resolve_time")


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


async def test_leaving_gives_tasks_back_at_once(server: ServerProcess, client: Client) -> None:
    async with worker(server.grpc) as session:
        await given(client, session)
    assert (await client.tasks.get("t1")).state == TASK_STATE_AVAILABLE


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


async def test_n5_idle_session_is_told_its_place_in_the_queue(server: ServerProcess) -> None:
    async with worker(server.grpc) as session:
        await session.opened()
        reply = await session.status(STATUS_IDLE)
        assert reply is not None
        assert reply.queue_position == 1
