"""A server that is killed again and again under load, and a fleet that works on regardless."""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

from infrafabric import Client, Session, TaskHandle, errors
from infrafabric.v1.session_client_pb2 import SESSION_ROLE_ORCHESTRATOR
from infrafabric.v1.task_pb2 import (
    DISPATCH_AUTO,
    DISPATCH_BROADCAST,
    DISPATCH_MANUAL,
    TASK_STATE_AVAILABLE,
    TASK_STATE_COMPLETED,
    Task,
)
from tests.harness.server import ServerProcess
from tests.integration.fire.chance import seeded
from tests.integration.fire.evidence import completions, owners, verify

KILLS = 20
WORKERS = 4
CALLERS = ("caller-0", "caller-1")
SLOTS = 4
BOARD = 100
# Tasks of the board that are not completed: enough to keep all slots busy.
BACKLOG = 150
# A kill comes after so many more things that happened, at most: between none and a board.
EVENTS = 400
# What calls wait between repeats while the server is away.
PAUSE = 0.05

T = TypeVar("T")


@dataclass(slots=True)
class Record:
    """What the fleet was told, for certain."""

    created: list[str] = field(default_factory=list)
    received: list[tuple[str, int, str]] = field(default_factory=list)
    completed: dict[str, int] = field(default_factory=dict)
    watched: dict[str, Task] = field(default_factory=dict)
    lost: int = 0
    events: int = 0
    enough: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def note(self) -> None:
        """Count something that happened and wake who waits for it."""
        async with self.changed:
            self.events += 1
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds."""
        async with self.changed:
            await self.changed.wait_for(condition)

    async def more(self, events: int) -> None:
        """Return when so many things more have happened."""
        goal = self.events + events
        await self.until(lambda: self.events >= goal)

    @property
    def open(self) -> int:
        """How many tasks were created and were not seen to be completed."""
        return sum(
            task_id not in self.watched or self.watched[task_id].state != TASK_STATE_COMPLETED
            for task_id in self.created
        )


async def certain(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call that may be repeated until the fabric has answered it."""
    while True:
        try:
            return await call()
        except (errors.Unreachable, errors.TryAgain):
            await asyncio.sleep(PAUSE)


async def create_boards(session: Session, record: Record, chance: random.Random) -> None:
    """Keep the board filled with tasks that wait for one another."""
    for number in itertools.count():
        await record.until(lambda: record.open < BACKLOG or record.enough)
        if record.enough:
            return
        board: list[Task] = []
        for place in range(BOARD):
            earlier = [task.task_id for task in board] + record.created[-5:]
            dispatch = chance.choices(
                [DISPATCH_AUTO, DISPATCH_BROADCAST, DISPATCH_MANUAL], [8, 1, 1]
            )[0]
            board.append(
                Task(
                    task_id=f"b{number:03}-{place:02}",
                    required_capabilities=["a"],
                    dependencies=chance.sample(earlier, min(len(earlier), chance.randrange(3))),
                    dispatch=dispatch,
                )
            )
        chance.shuffle(board)
        record.created += await session.create(board)
        await record.note()


async def watch(client: Client, record: Record) -> None:
    """Follow every task; what is seen never goes back."""
    async for event in client.tasks.watch():
        if event.HasField("changed") or event.HasField("snapshot"):
            task = event.changed if event.HasField("changed") else event.snapshot
            before = record.watched.get(task.task_id)
            assert before is None or task.attempt >= before.attempt
            assert before is None or before.state != TASK_STATE_COMPLETED or before == task
            record.watched[task.task_id] = task
            await record.note()


async def work(session: Session, swarm_id: str, record: Record) -> None:
    """Do what the session brings, several tasks at a time."""

    async def do(task: TaskHandle) -> None:
        try:
            await task.progress(50, "half way")
            await task.complete({"by": swarm_id})
        except errors.ClaimVoid:
            record.lost += 1
        else:
            assert record.completed.setdefault(task.task_id, task.attempt) == task.attempt
        await record.note()

    async with asyncio.TaskGroup() as group:
        async for task in session:
            record.received.append((task.task_id, task.attempt, swarm_id))
            await record.note()
            group.create_task(do(task))


async def work_by_calls(client: Client, swarm_id: str, record: Record) -> None:
    """Claim and complete the tasks that wait to be claimed, by single calls."""
    await certain(lambda: client.swarms.register(swarm_id, ["a"], max_concurrent_tasks=64))

    async def do(task_id: str) -> None:
        answer = await certain(lambda: client.claims.claim(swarm_id, task_id))
        if not answer.claimed:
            return
        attempt = answer.task.attempt
        record.received.append((task_id, attempt, swarm_id))
        try:
            await certain(lambda: client.claims.complete(swarm_id, task_id, attempt))
        except errors.ClaimVoid:
            record.lost += 1
        else:
            assert record.completed.setdefault(task_id, attempt) == attempt
        await record.note()

    async with asyncio.TaskGroup() as group:
        async for event in client.tasks.watch():
            task = event.changed if event.HasField("changed") else event.snapshot
            if task.dispatch == DISPATCH_MANUAL and task.state == TASK_STATE_AVAILABLE:
                group.create_task(do(task.task_id))


def impatient_client(target: str) -> Client:
    """Return a client that connects again as soon as the server is back."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 200),
    ]
    return Client(target, channel=grpc.aio.insecure_channel(target, options=options))


async def kill_at_random(server: ServerProcess, record: Record, chance: random.Random) -> None:
    """Kill and restart the server, at moments that nobody has chosen."""
    for number in range(KILLS):
        await record.more(chance.randrange(EVENTS))
        # Not right after something happened: in the middle of what follows.
        await asyncio.sleep(chance.random() * 0.02)
        await server.kill()
        if number % 5 == 0:
            # A crash may come while the start after the last one is under way.
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.random()):
                    await server.start()
        if not server.running:
            await server.start()


def workers(server: ServerProcess) -> dict[str, Session]:
    """Return the sessions that work, by swarm."""
    names = [f"worker-{number}" for number in range(WORKERS)]
    return {
        name: Session(server.grpc, swarm_id=name, capabilities=["a"], slots=SLOTS) for name in names
    }


@pytest.mark.timeout(180)
async def test_c1_c10_20_kills_lose_nothing_and_claim_nothing_twice(tmp_path: Path) -> None:
    chance = seeded()
    record = Record()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path))
        client = await stack.enter_async_context(impatient_client(server.grpc))
        foreman = Session(server.grpc, swarm_id="foreman", role=SESSION_ROLE_ORCHESTRATOR)
        fleet = workers(server)
        for session in (foreman, *fleet.values()):
            await stack.enter_async_context(session)
        async with asyncio.TaskGroup() as group:
            creating = group.create_task(create_boards(foreman, record, chance))
            working = [
                group.create_task(watch(client, record)),
                *(group.create_task(work(fleet[name], name, record)) for name in fleet),
                *(group.create_task(work_by_calls(client, name, record)) for name in CALLERS),
            ]
            await kill_at_random(server, record, chance)
            record.enough = True
            await record.note()
            await creating
            await record.until(lambda: record.open == 0)
            # Every session is back by itself, on its own stream.
            for session in (foreman, *fleet.values()):
                await session.opened()
            await client.statuses.broadcast("well done")
            for session in (foreman, *fleet.values()):
                assert (await anext(session.broadcasts())).message == "well done"
            for task in working:
                task.cancel()
        stored = {task.task_id: task async for task in client.tasks.list()}
        given, done = await owners(client), await completions(client)
        over_the_api = await verify("--server", server.grpc)
        assert await server.stop() == 0
        assert await verify("--data", server.data) == over_the_api
    assert len(record.created) > KILLS
    assert_nothing_lost(record, stored, done)
    assert_nothing_twice(record, given)


def assert_nothing_lost(record: Record, stored: dict[str, Task], done: dict[str, int]) -> None:
    """Check that all that was acknowledged is there."""
    assert set(record.created) <= set(stored)
    assert all(task.state == TASK_STATE_COMPLETED for task in stored.values())
    assert done == {task_id: task.attempt for task_id, task in stored.items()}
    assert record.completed.items() <= done.items()
    assert {task_id: task.attempt for task_id, task in record.watched.items()} == done


def assert_nothing_twice(record: Record, given: dict[tuple[str, int], str]) -> None:
    """Check that each attempt of each task was brought to one worker, once."""
    brought = defaultdict(list)
    for task_id, attempt, swarm_id in record.received:
        brought[task_id, attempt].append(swarm_id)
    assert [claim for claim, workers in brought.items() if len(workers) > 1] == []
    assert {claim: swarm_id for claim, (swarm_id,) in brought.items()}.items() <= given.items()
