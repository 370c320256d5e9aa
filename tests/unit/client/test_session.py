"""The session over real streams, against the model of the fabric."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from infrafabric import Session, SessionOptions, TaskHandle, errors
from infrafabric.v1 import error_pb2
from infrafabric.v1.status_pb2 import STATUS_BUSY, STATUS_HELP, STATUS_IDLE
from infrafabric.v1.task_pb2 import TASK_STATE_AVAILABLE, TASK_STATE_CLAIMED, Task
from tests.unit.client.fabric_model import status_of
from tests.unit.client.scripted_server import ScriptedServer, scripted_server


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as it:
        yield it


def session_to(
    server: ScriptedServer,
    *,
    slots: int = 1,
    window: int | None = None,
    on_offer: Callable[[Task], bool] | None = None,
) -> Session:
    # A tenth of the jitter: reconnections come quickly, and still with a pause.
    options = SessionOptions(window=window, random=lambda: 0.1)
    return Session(server.target, swarm_id="s1", slots=slots, on_offer=on_offer, options=options)


async def given(server: ScriptedServer, session: Session, task_id: str = "t1") -> TaskHandle:
    """Assign a task and return what the session makes of it."""
    await session.opened()
    server.model.assign(task_id)
    server.changed()
    return await anext(session)


async def available(server: ScriptedServer, task_id: str) -> None:
    server.model.tasks[task_id] = Task(task_id=task_id, state=TASK_STATE_AVAILABLE)


async def test_c4_works_off_what_is_assigned(server: ScriptedServer) -> None:
    done = []
    async with session_to(server) as session:
        await session.opened()
        for number in range(3):
            server.model.assign(f"t{number}")
            server.model.tasks[f"t{number}"].input.update({"n": number})
            server.changed()
            task = await anext(session)
            await task.progress(50, "half way")
            await task.complete({"square": number**2}, cost_micros=10)
            done.append(task.task_id)
    assert done == ["t0", "t1", "t2"]
    assert server.model.completions == {"t0": 1, "t1": 1, "t2": 1}
    assert server.model.closed


async def test_input_has_whole_numbers(server: ScriptedServer) -> None:
    task = Task(task_id="t1")
    task.input.update({"pages": 3, "share": 0.5, "deep": [{"n": 1}]})
    server.model.tasks["t1"] = task
    async with session_to(server) as session:
        handle = await given(server, session)
        assert handle.input == {"pages": 3, "share": 0.5, "deep": [{"n": 1}]}
        assert isinstance(handle.input["pages"], int)


async def test_n9_goes_on_working_while_the_server_is_away(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        task = await given(server, session)
        await server.stop()
        while session.connected:
            assert await session.status(STATUS_BUSY) is None
        assert await session.status(STATUS_HELP) is None
        assert await session.status(STATUS_IDLE) is None
        await task.progress(25)
        await task.progress(75)
        completion = asyncio.create_task(task.complete())
        await server.start()
        await completion
        await server.seen(lambda model: model.statuses)
    assert [frame.status for frame in server.model.statuses][-1] == STATUS_IDLE
    assert [frame.milestone_percent for frame in server.model.milestones] == [75]
    assert server.model.completions == {"t1": 1}
    assert server.model.opened[-1].resume_token == "token-1"


async def test_starts_before_the_server_does(server: ScriptedServer) -> None:
    await server.stop()
    async with session_to(server) as session:
        assert await session.status(STATUS_BUSY) is None
        await server.start()
        await session.opened()
        await server.seen(lambda model: model.statuses)
    assert server.model.statuses[0].status == STATUS_BUSY


async def test_silent_stream_is_given_up_within_the_lease(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        await session.opened()
        server.silent = True
        await server.seen(lambda model: len(model.opened) == 2)
        assert server.model.opened[1].resume_token == "token-1"
        server.silent = False
        server.changed()


async def test_heartbeats_keep_a_quiet_session(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        await session.opened()
        await server.seen(lambda model: sum(f.HasField("heartbeat") for f in model.seen) >= 4)
        assert len(server.model.opened) == 1


async def test_fenced_session_says_so_to_everyone(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        task = await given(server, session)
        fence = status_of(error_pb2.ERROR_REASON_SESSION_FENCED, "a newer stream took over")
        server.end_with(fence)
        with pytest.raises(errors.SessionFenced, match="a newer stream took over"):
            await anext(session)
        with pytest.raises(errors.SessionFenced):
            await task.complete()
        with pytest.raises(errors.SessionFenced):
            await session.status(STATUS_IDLE)
        with pytest.raises(errors.SessionFenced):
            await session.opened()
        assert task.revoked.is_set()
    assert len(server.model.opened) == 1


async def test_refused_opening_reaches_the_caller(server: ScriptedServer) -> None:
    refusal = status_of(error_pb2.ERROR_REASON_INVALID_FIELD, "open.swarm_id: must be an id")
    async with session_to(server) as session:
        await session.opened()
        server.end_with(refusal)
        with pytest.raises(errors.InvalidField, match=r"open\.swarm_id"):
            await anext(session)


async def test_guard_cancels_work_on_a_lost_claim(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        task = await given(server, session)
        finished = False
        async with task.guard():
            server.model.take_back("t1", tell=True)
            server.changed()
            await asyncio.Event().wait()
            finished = True
        assert not finished
        assert task.revoked.is_set()
        with pytest.raises(errors.StaleAttempt):
            await task.complete()
        with pytest.raises(errors.StaleAttempt):
            async with task.guard():
                finished = True
        assert not finished
        assert (await given(server, session)).attempt == 2


async def test_guard_lets_other_cancellations_through(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        task = await given(server, session)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), task.guard():
                await asyncio.Event().wait()
        await task.complete()


async def test_task_that_is_lost_before_it_is_taken_is_passed_over(
    server: ScriptedServer,
) -> None:
    async with session_to(server, slots=2) as session:
        await session.opened()
        server.model.assign("t1")
        server.model.take_back("t1", tell=True)
        server.model.assign("t2")
        server.changed()
        assert (await anext(session)).task_id == "t2"


async def test_c1_losing_a_claim_is_an_answer(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        outcome = await session.claim("nothing")
        assert outcome.task is None
        await available(server, "t1")
        outcome = await session.claim("t1")
        assert outcome.task is not None
        await outcome.task.release("not mine")
    assert server.model.tasks["t1"].state == TASK_STATE_AVAILABLE


async def test_claim_whose_caller_is_cancelled_is_given_back(server: ScriptedServer) -> None:
    await available(server, "t1")
    async with session_to(server) as session:
        await session.opened()
        server.silent = True
        claim = asyncio.create_task(session.claim("t1"))
        await server.seen(lambda model: model.tasks["t1"].state == TASK_STATE_CLAIMED)
        claim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claim
        server.silent = False
        server.changed()
        await server.seen(lambda model: model.tasks["t1"].state == TASK_STATE_AVAILABLE)


async def test_slow_consumer_pauses_delivery(server: ScriptedServer) -> None:
    async with session_to(server, slots=8, window=2) as session:
        await session.opened()
        for number in range(8):
            server.model.assign(f"t{number}")
        server.changed()
        await server.seen(lambda model: len(model.acked) == 2)
        assert server.model.credit == 0
        got = [(await anext(session)).task_id for _ in range(8)]
    assert got == [f"t{number}" for number in range(8)]


async def test_c5_on_offer_decides(server: ScriptedServer) -> None:
    async with session_to(server, on_offer=lambda task: task.task_id != "bad") as session:
        await session.opened()
        server.model.offer("bad")
        server.model.offer("good")
        server.changed()
        assert (await anext(session)).task_id == "good"
        await server.seen(lambda model: "bad" not in model.offers)


async def test_fault_in_on_offer_reaches_the_worker(server: ScriptedServer) -> None:
    def broken(task: Task) -> bool:
        raise LookupError(f"no opinion on {task.task_id}")

    async def work() -> None:
        async with session_to(server, on_offer=broken) as session:
            await session.opened()
            server.model.offer("t1")
            server.changed()
            await anext(session)

    with pytest.raises(LookupError, match="no opinion on t1"):
        await work()


async def test_c6_orchestrator_hears_alerts_and_texts(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        await session.opened()
        server.model.alert("b1")
        server.model.broadcast("all hands")
        server.changed()
        assert (await anext(session.alerts())).blocker_id == "b1"
        assert (await anext(session.broadcasts())).message == "all hands"


async def test_c9_blocked_task_comes_back_to_who_waits(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        task = await given(server, session)
        assert (await task.block("stuck", needs=["rust"])).blocker_id == "b"
        waiting = asyncio.create_task(task.unblocked())
        await asyncio.sleep(0)
        server.model.resolve("t1")
        server.changed()
        await waiting
        await task.complete()


async def test_c9_blocked_task_comes_out_of_the_session_again(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        own = await given(server, session, "own")
        await own.block("stuck")
        server.model.offer("filler")
        server.changed()
        filler = await anext(session)
        await filler.complete()
        server.model.resolve("own")
        server.changed()
        again = await anext(session)
        assert again is own
        await again.complete()
    assert server.model.completions == {"own": 1, "filler": 1}


@pytest.mark.parametrize("waits", [True, False])
async def test_c9_blocker_that_is_resolved_before_its_answer_is_read_is_told_of_once(
    server: ScriptedServer, waits: bool
) -> None:
    async with session_to(server, slots=2) as session:
        task = await given(server, session)
        coming = asyncio.create_task(anext(session))
        server.silent = True
        blocking = asyncio.create_task(block(task, waits=waits))
        await server.seen(lambda model: "t1" in model.blockers)
        # The answer and the end of the blocker come in one message.
        server.model.resolve("t1")
        server.silent = False
        server.changed()
        await blocking
        server.model.assign("t2")
        server.changed()
        assert (await coming).task_id == ("t2" if waits else "t1")


async def block(task: TaskHandle, *, waits: bool) -> None:
    await task.block("stuck")
    if waits:
        await task.unblocked()


async def test_losing_a_blocked_task_wakes_who_waits(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        task = await given(server, session)
        await task.block("stuck")
        waiting = asyncio.create_task(task.unblocked())
        await asyncio.sleep(0)
        server.model.take_back("t1", tell=True)
        server.changed()
        with pytest.raises(errors.StaleAttempt, match="t1 is lost"):
            await waiting


async def test_leaving_gives_up_handles_and_ends_iteration(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        task = await given(server, session)
    assert server.model.closed
    assert task.revoked.is_set()
    assert [task async for task in session] == []
    with pytest.raises(errors.SessionEnded):
        await task.complete()


async def test_error_of_the_body_passes_unwrapped(server: ScriptedServer) -> None:
    async def work() -> None:
        async with session_to(server) as session:
            await session.opened()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert server.model.closed


async def test_cancelled_worker_leaves_nothing_behind(server: ScriptedServer) -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with session_to(server) as session:
            await session.opened()
            started.set()
            await anext(session)

    before = asyncio.all_tasks()
    worker = asyncio.create_task(work())
    await started.wait()
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    await server.seen(lambda model: model.closed)
    left = {task for task in asyncio.all_tasks() - before if "session" in task.get_name()}
    assert left == set()


async def test_left_before_it_was_connected(server: ScriptedServer) -> None:
    await server.stop()
    async with session_to(server):
        pass
    assert server.model.opened == []


async def test_many_callers_share_few_messages(server: ScriptedServer) -> None:
    async with session_to(server) as session:
        await session.opened()
        boards = [session.create([Task(task_id=f"t{number}")]) for number in range(500)]
        ids = await asyncio.gather(*boards)
    assert ids == [[f"t{number}"] for number in range(500)]


async def test_unanswered_decisions_are_bounded(server: ScriptedServer) -> None:
    await server.stop()
    async with session_to(server) as session:
        boards = [
            asyncio.create_task(session.create([Task(task_id=f"t{number}")]))
            for number in range(1_200)
        ]
        await server.start()
        await asyncio.gather(*boards)
    assert len(server.model.created) == 1_200
