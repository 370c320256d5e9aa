"""What one swarm does is seen by those who should see it, and by nobody else."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from infrafabric import Client, Session
from infrafabric.v1.task_pb2 import (
    CLAIM_REFUSAL_ALREADY_CLAIMED,
    CLAIM_REFUSAL_TASK_NOT_FOUND,
    DISPATCH_MANUAL,
    Task,
)
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from infrafabric.values import from_struct
from tests.harness.server import ServerProcess


@pytest.fixture
async def client(shared_server: ServerProcess) -> AsyncIterator[Client]:
    async with Client(shared_server.grpc) as it:
        yield it


async def test_c2_every_claim_is_in_the_log_won_lost_or_refused(client: Client) -> None:
    for swarm_id in ("see-a", "see-b"):
        await client.swarms.register(swarm_id, [])
    await client.tasks.create(Task(task_id="see-1", dispatch=DISPATCH_MANUAL))
    won = await client.claims.claim("see-a", "see-1")
    lost = await client.claims.claim("see-b", "see-1")
    refused = await client.claims.claim("see-b", "see-none")
    assert (won.claimed, lost.refusal, refused.refusal) == (
        True,
        CLAIM_REFUSAL_ALREADY_CLAIMED,
        CLAIM_REFUSAL_TASK_NOT_FOUND,
    )
    winning = [entry async for entry in client.witness.query(QueryEntriesRequest(task_id="see-1"))]
    assert [(entry.operation, entry.attempt) for entry in winning if entry.swarm_id == "see-a"] == [
        ("claim_won", 1)
    ]
    losing = [entry async for entry in client.witness.query(QueryEntriesRequest(swarm_id="see-b"))]
    reasons: Counter[str] = Counter()
    for entry in losing:
        if entry.operation == "claim_refused":
            reasons.update(from_struct(entry.details)["reasons"])
    assert reasons == {"already_claimed": 1, "task_not_found": 1}


async def test_c3_every_registered_swarm_has_a_subscription_of_its_own(
    shared_server: ServerProcess, client: Client
) -> None:
    names = [f"see-{number}" for number in range(20)]
    for name in names:
        await client.swarms.register(name, [name])
    assert set(names) <= {swarm.swarm_id async for swarm in client.swarms.list()}

    async def one(name: str) -> str:
        async with Session(shared_server.grpc, swarm_id=name) as session:
            await session.opened()
            task = await anext(session)
            await task.complete()
            return task.task_id

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        received = {name: group.create_task(one(name)) for name in names}
        await client.tasks.create_all(
            Task(task_id=f"for-{name}", required_capabilities=[name]) for name in names
        )
    assert {name: task.result() for name, task in received.items()} == {
        name: f"for-{name}" for name in names
    }


async def test_c8_watchers_see_each_milestone_with_all_that_was_said(client: Client) -> None:
    await client.swarms.register("see-c", [])
    await client.tasks.create(Task(task_id="see-2", dispatch=DISPATCH_MANUAL))
    await client.claims.claim("see-c", "see-2")
    seen: list[tuple[int, str, tuple[str, ...], str]] = []
    async with asyncio.timeout(30):
        async for event in client.tasks.watch():
            if event.HasField("snapshot_end"):
                await report(client, 0)
            elif event.changed.task_id == "see-2":
                task = event.changed
                told = (task.milestone_note, tuple(task.blocked_on), task.next_action)
                seen.append((task.milestone_percent, *told))
                if task.milestone_percent == 100:
                    break
                await report(client, task.milestone_percent + 25)
    assert seen == [
        (percent, f"at {percent}", ("the review",), f"go past {percent}")
        for percent in (0, 25, 50, 75, 100)
    ]


async def report(client: Client, percent: int) -> None:
    """Report a milestone of the task `see-2`."""
    await client.claims.progress(
        "see-c",
        "see-2",
        1,
        percent,
        note=f"at {percent}",
        blocked_on=["the review"],
        next_action=f"go past {percent}",
    )
