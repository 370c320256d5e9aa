"""Sessions that fall silent and wake up too late: nothing that they still say counts."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from infrafabric import Client, FabricError, Session, errors
from infrafabric.channel import open_channel
from infrafabric.refusals import from_status
from infrafabric.v1.session_client_pb2 import (
    AckFrame,
    BlockerFrame,
    ClaimFrame,
    ClientFrame,
    CompleteFrame,
    FailFrame,
    OpenFrame,
    ProgressFrame,
    ReleaseFrame,
)
from infrafabric.v1.session_server_pb2 import CLOSING_ACTION_RESTART
from infrafabric.v1.task_pb2 import CLAIM_REFUSAL_ALREADY_CLAIMED, TASK_STATE_COMPLETED, Task
from infrafabric.values import from_struct
from tests.harness.server import ServerProcess
from tests.integration.fire import holder
from tests.integration.fire.evidence import entries
from tests.integration.fire.raw import RawSession

# Long enough that a busy machine does not lose a session that is alive.
LEASE = 3


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    environment = {"INFRAFABRIC_LEASE_SECONDS": str(LEASE)}
    async with ServerProcess(tmp_path, environment=environment) as it:
        yield it


class Holder:
    """The worker process of `holder`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def told(self) -> dict[str, Any]:
        """Return what it says next."""
        assert self.process.stdout is not None
        told: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return told

    async def go(self) -> None:
        """Let it speak for its task."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        await self.process.stdin.drain()


@asynccontextmanager
async def holding(server: ServerProcess, swarm_id: str) -> AsyncIterator[Holder]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", holder.__name__, server.grpc, swarm_id),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Holder(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_c10_what_a_stopped_process_says_too_late_is_refused(
    server: ServerProcess, client: Client
) -> None:
    async with holding(server, "sleeper") as sleeper:
        await client.tasks.create(Task(task_id="t1", required_capabilities=["a"]))
        assert await sleeper.told() == {"event": "holding", "task_id": "t1", "attempt": 1}
        sleeper.process.send_signal(signal.SIGSTOP)
        async with Session(server.grpc, swarm_id="other", capabilities=["a"]) as other:
            task = await anext(other)
            assert (task.task_id, task.attempt) == ("t1", 2)
            await task.complete({"by": "other"})
        await sleeper.go()
        sleeper.process.send_signal(signal.SIGCONT)
        for event in ("session", "progress", "extend", "block", "release", "fail", "complete"):
            assert await sleeper.told() == {"event": event, "error": "StaleAttempt"}
        assert await sleeper.told() == {"event": "end", "revoked": True}
    task_now = await client.tasks.get("t1")
    assert (task_now.state, task_now.attempt) == (TASK_STATE_COMPLETED, 2)
    assert from_struct(task_now.result) == {"by": "other"}
    (taken,) = await entries(client, "claim_taken_back")
    assert (taken.swarm_id, taken.attempt) == ("sleeper", 1)
    assert from_struct(taken.details)["kind"] == "session_lost"
    fenced = [from_struct(entry.details) for entry in await entries(client, "message_fenced")]
    assert sum(details["reasons"]["stale_attempt"] for details in fenced) >= 6


async def test_c10_late_frames_are_refused_each_with_its_own_answer(
    server: ServerProcess, client: Client
) -> None:
    opening = OpenFrame(swarm_id="sleeper", capabilities=["a"])
    async with open_channel(server.grpc) as channel:
        async with RawSession(channel, opening) as silent:
            await client.tasks.create(Task(task_id="t1", required_capabilities=["a"]))
            held = (await silent.heard(lambda frame: frame.HasField("task"))).task.task
            await silent.ask(ClientFrame(ack=AckFrame(task_id="t1", attempt=held.attempt)))
            assert isinstance(await silent.ended(), errors.SessionExpired)
            closing = await silent.heard(lambda frame: frame.HasField("closing"))
            assert closing.closing.action == CLOSING_ACTION_RESTART
        async with Session(server.grpc, swarm_id="other", capabilities=["a"]) as other:
            task = await anext(other)
            assert (task.task_id, task.attempt) == ("t1", 2)
            async with RawSession(channel, opening) as awake:
                assert await refusals(awake, "t1", held.attempt) == {errors.StaleAttempt}
                (reply,) = await awake.ask(ClientFrame(claim=ClaimFrame(task_id="t1")))
            assert reply.claim.refusal == CLAIM_REFUSAL_ALREADY_CLAIMED
            assert reply.claim.owner_swarm_id == "other"
            assert not task.revoked.is_set()
            await task.complete()
    task_now = await client.tasks.get("t1")
    assert (task_now.owner_swarm_id, task_now.state) == ("other", TASK_STATE_COMPLETED)


async def refusals(session: RawSession, task_id: str, attempt: int) -> set[type[FabricError]]:
    """Say all that a holder can say about a claim; return how it is refused."""
    replies = await session.ask(
        ClientFrame(ack=AckFrame(task_id=task_id, attempt=attempt)),
        ClientFrame(progress=ProgressFrame(task_id=task_id, attempt=attempt, milestone_percent=75)),
        ClientFrame(blocker=BlockerFrame(task_id=task_id, attempt=attempt, description="stuck")),
        ClientFrame(release=ReleaseFrame(task_id=task_id, attempt=attempt)),
        ClientFrame(fail=FailFrame(task_id=task_id, attempt=attempt, reason="too late")),
        ClientFrame(complete=CompleteFrame(task_id=task_id, attempt=attempt)),
    )
    return {type(from_status(reply.error)) for reply in replies}
