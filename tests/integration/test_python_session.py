"""The Python session against the real server, over a connection that holds."""

import asyncio

import pytest

from infrafabric import Client, Session, TaskHandle, errors
from infrafabric.v1.session_client_pb2 import SESSION_ROLE_ORCHESTRATOR
from infrafabric.v1.session_server_pb2 import REVOKE_REASON_CANCELLED
from infrafabric.v1.status_pb2 import STATUS_IDLE
from infrafabric.v1.task_pb2 import (
    DISPATCH_BROADCAST,
    DISPATCH_MANUAL,
    TASK_STATE_AVAILABLE,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    Task,
)
from tests.harness.server import ServerProcess
from tests.integration.python_sessions import completions, create, given, worker


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


async def test_leaving_gives_tasks_back_at_once(server: ServerProcess, client: Client) -> None:
    async with worker(server.grpc) as session:
        await given(client, session)
    assert (await client.tasks.get("t1")).state == TASK_STATE_AVAILABLE


async def test_n5_idle_session_is_told_its_place_in_the_queue(server: ServerProcess) -> None:
    async with worker(server.grpc) as session:
        await session.opened()
        reply = await session.status(STATUS_IDLE)
        assert reply is not None
        assert reply.queue_position == 1
