"""A server that is told to stop while everybody works: nobody is surprised, nothing is lost."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from infrafabric import Client, Session, TaskHandle, errors
from infrafabric.channel import open_channel
from infrafabric.v1.session_client_pb2 import SESSION_ROLE_ORCHESTRATOR, OpenFrame
from infrafabric.v1.session_server_pb2 import CLOSING_ACTION_RESUME
from infrafabric.v1.task_pb2 import DISPATCH_MANUAL, TASK_STATE_COMPLETED, Task
from tests.harness.server import ServerProcess
from tests.integration.fire.evidence import completions, owners, verify
from tests.integration.fire.followers import SessionFollower
from tests.integration.fire.health import NOT_SERVING, SERVING, check, watch
from tests.integration.fire.raw import RawSession

SERVICES = [f"infrafabric.v1.{name}Service" for name in ("Coordinator", "Governor", "Notify")]
SERVICES += ["infrafabric.v1.WitnessService", ""]
SESSIONS = 20
SLOTS = 4
BOARDS = 20
BOARD = 10
# So many tasks are completed when the server is told to stop, in the middle of others.
ENOUGH = 60

# Without this a client's window grows, and it reads ahead of its program.
_SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1))
# Together far more than a window.
_TEXTS = 100
_TEXT = "x" * 4_096


@dataclass(slots=True)
class Record:
    """What the fleet was pushed, and what was acknowledged."""

    received: list[tuple[str, int]] = field(default_factory=list)
    completed: dict[str, int] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def note(self) -> None:
        """Wake who waits for something that happened."""
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds."""
        async with self.changed:
            await self.changed.wait_for(condition)


async def work(session: Session, record: Record) -> None:
    """Complete what the session brings."""

    async def do(task: TaskHandle) -> None:
        await task.complete()
        record.completed[task.task_id] = task.attempt
        await record.note()

    async with asyncio.TaskGroup() as group:
        async for task in session:
            record.received.append((task.task_id, task.attempt))
            group.create_task(do(task))


async def claims(foreman: Session, fleet: list[Session]) -> list[TaskHandle]:
    """Let each session claim a task, which it keeps while the server stops."""
    ids = [f"kept-{number}" for number in range(len(fleet))]
    await foreman.create(Task(task_id=task_id, dispatch=DISPATCH_MANUAL) for task_id in ids)
    claimed = await asyncio.gather(*map(Session.claim, fleet, ids))
    return [outcome.task for outcome in claimed if outcome.task is not None]


async def create(foreman: Session) -> None:
    """Create the boards, one after the other."""
    for board in range(BOARDS):
        ids = [f"b{board:02}-{place}" for place in range(BOARD)]
        await foreman.create(
            Task(task_id=task_id, required_capabilities=["a"], dependencies=ids[:place][-1:])
            for place, task_id in enumerate(ids)
        )


async def told(observer: RawSession, health: list[AsyncIterator[int]]) -> None:
    """Check that a drain is announced to a session and to whoever watches the health."""
    closing = (await observer.heard(lambda frame: frame.HasField("closing"))).closing
    assert closing.action == CLOSING_ACTION_RESUME
    assert await observer.ended() is None
    for statuses in health:
        assert await anext(statuses) == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError):
            await anext(statuses)


async def stopped_in_the_middle(server: ServerProcess, record: Record) -> list[TaskHandle]:
    """Let a fleet work while the server stops and starts again; return what it held over that."""
    async with AsyncExitStack() as stack:
        foreman = Session(server.grpc, swarm_id="foreman", role=SESSION_ROLE_ORCHESTRATOR)
        fleet = [
            Session(server.grpc, swarm_id=f"worker-{number}", capabilities=["a"], slots=SLOTS)
            for number in range(SESSIONS)
        ]
        for session in (foreman, *fleet):
            await stack.enter_async_context(session)
        channel = await stack.enter_async_context(open_channel(server.grpc))
        observer = await stack.enter_async_context(
            RawSession(channel, OpenFrame(swarm_id="observer"))
        )
        health = [watch(channel, service) for service in SERVICES]
        assert [await anext(statuses) for statuses in health] == [SERVING] * len(SERVICES)
        kept = await claims(foreman, fleet)
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(work(session, record)) for session in fleet]
            telling = group.create_task(told(observer, health))
            creating = group.create_task(create(foreman))
            await record.until(lambda: len(record.completed) >= ENOUGH)
            assert await server.stop() == 0
            await telling
            assert len(record.completed) < BOARDS * BOARD
            await server.start()
            await creating
            await record.until(lambda: len(record.completed) == BOARDS * BOARD)
            for task in working:
                task.cancel()
        for handle in kept:
            assert not handle.revoked.is_set()
            await handle.complete()
            record.completed[handle.task_id] = handle.attempt
    return kept


@pytest.mark.timeout(90)
async def test_c11_a_drain_under_load_loses_nothing_and_everyone_comes_back(
    tmp_path: Path,
) -> None:
    record = Record()
    async with ServerProcess(tmp_path) as server:
        kept = await stopped_in_the_middle(server, record)
        assert [task.attempt for task in kept] == [1] * SESSIONS
        assert len(record.completed) == BOARDS * BOARD + SESSIONS
        async with Client(server.grpc) as client:
            stored = [task async for task in client.tasks.list()]
            assert {task.state for task in stored} == {TASK_STATE_COMPLETED}
            assert {task.task_id: task.attempt for task in stored} == record.completed
            assert await completions(client) == record.completed
            assert len(set(record.received)) == len(record.received)
            assert set(record.received) <= set(await owners(client))
        assert await server.stop() == 0
        await verify("--data", server.data)
    assert "Traceback" not in server.log


async def stuck_and_draining(stack: AsyncExitStack, server: ServerProcess) -> asyncio.Task[int]:
    """Let a session not read what it is sent, and stop the server; return when it drains."""
    small = await stack.enter_async_context(grpc.aio.insecure_channel(server.grpc, _SMALL_WINDOW))
    await SessionFollower(small, "stuck").begin()
    channel = await stack.enter_async_context(open_channel(server.grpc))
    observer = await stack.enter_async_context(RawSession(channel, OpenFrame(swarm_id="observer")))
    client = await stack.enter_async_context(Client(server.grpc))
    for _ in range(_TEXTS):
        await client.statuses.broadcast(_TEXT)
    stopping = asyncio.create_task(server.stop())
    await observer.heard(lambda frame: frame.HasField("closing"))
    return stopping


async def test_c11_a_drain_waits_for_nobody_beyond_its_limit(tmp_path: Path) -> None:
    environment = {"INFRAFABRIC_DRAIN_SECONDS": "1"}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path, environment=environment))
        stopping = await stuck_and_draining(stack, server)
        assert await stopping == 0
    assert "drain_cut_short" not in server.log
    assert "Traceback" not in server.log


async def refused(server: ServerProcess) -> None:
    """Check that a draining server refuses what changes something, and shows what it has."""
    async with grpc.aio.insecure_channel(server.grpc, _SMALL_WINDOW) as channel:
        client = Client(server.grpc, channel=channel)
        with pytest.raises(errors.Draining, match="try again in a moment") as refusal:
            await client.tasks.create(Task(task_id="new"))
        assert refusal.value.retry_after is not None
        assert (await client.swarms.get("stuck")).swarm_id == "stuck"
        assert await check(channel) == NOT_SERVING


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_c11_a_draining_server_refuses_what_is_new_until_a_second_signal_ends_the_wait(
    tmp_path: Path, number: signal.Signals
) -> None:
    # Far longer than the harness waits.
    environment = {"INFRAFABRIC_DRAIN_SECONDS": "600"}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path, environment=environment))
        stopping = await stuck_and_draining(stack, server)
        await refused(server)
        server.signal(number)
        assert await stopping == 0
        assert "drain_cut_short" in server.log
        await server.start()
        async with Client(server.grpc) as client:
            assert (await client.swarms.get("stuck")).swarm_id == "stuck"
        # As Ctrl-C does at the terminal.
        server.signal(signal.SIGINT)
        assert await server.ended() == 0
        await verify("--data", server.data)
    assert "Traceback" not in server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_c11_a_signal_while_the_server_starts_ends_it_well(
    tmp_path: Path, number: signal.Signals
) -> None:
    server = ServerProcess(tmp_path)
    starting = asyncio.create_task(server.start())
    # The first thing that it makes; both ports are still closed by then.
    while not server.data.exists():
        assert not starting.done()
        await asyncio.sleep(0)
    server.signal(number)
    await asyncio.wait((starting,))
    assert await server.ended() == 0
    assert "Traceback" not in server.log
