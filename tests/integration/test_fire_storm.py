"""Two thousand sessions that come at once, and again after the server was killed."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from infrafabric import Client
from infrafabric.v1.session_client_pb2 import AckFrame, ClientFrame, OpenFrame
from infrafabric.v1.session_server_pb2 import OpenedFrame
from infrafabric.v1.task_pb2 import Task
from tests.harness.server import ServerProcess
from tests.integration.fire.evidence import owners
from tests.integration.fire.raw import RawSession

SESSIONS = 2_000
CHANNELS = 20
BOARD = 1_000

# So that all of them are there in the same moment when the server is.
_IMPATIENT = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
)


async def storm(
    channels: list[grpc.aio.Channel], openings: list[OpenFrame]
) -> tuple[list[RawSession], list[OpenedFrame]]:
    """Open all sessions at the same time."""
    sessions = [
        RawSession(channels[number % CHANNELS], opening) for number, opening in enumerate(openings)
    ]
    return sessions, await asyncio.gather(*(session.open() for session in sessions))


async def take_task(session: RawSession) -> tuple[str, int]:
    """Return the task that comes to a session, which confirms it."""
    task = (await session.heard(lambda frame: frame.HasField("task"))).task.task
    ack = AckFrame(task_id=task.task_id, attempt=task.attempt)
    await session.ask(ClientFrame(ack=ack))
    return task.task_id, task.attempt


def owned(opened: OpenedFrame) -> list[tuple[str, int]]:
    return [(holding.task_id, holding.attempt) for holding in opened.owned]


@pytest.mark.timeout(120)
async def test_c4_c10_2000_sessions_come_at_once_and_again_after_a_crash(tmp_path: Path) -> None:
    # The sessions of this test send no heartbeats.
    calm = {"INFRAFABRIC_LEASE_SECONDS": "300", "INFRAFABRIC_ACK_SECONDS": "300"}
    openings = [
        OpenFrame(swarm_id=f"s{number:04}", capabilities=["a"]) for number in range(SESSIONS)
    ]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path, environment=calm))
        client = await stack.enter_async_context(Client(server.grpc))
        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(server.grpc, options=_IMPATIENT)
            )
            for _ in range(CHANNELS)
        ]
        sessions, welcomes = await storm(channels, openings)
        assert len({welcome.resume_token for welcome in welcomes}) == SESSIONS
        for start in range(0, SESSIONS, BOARD):
            await client.tasks.create_all(
                Task(task_id=f"t{number:04}", required_capabilities=["a"])
                for number in range(start, start + BOARD)
            )
        held = await asyncio.gather(*(take_task(session) for session in sessions))
        assert sorted(held) == [(f"t{number:04}", 1) for number in range(SESSIONS)]

        await server.kill()
        await asyncio.gather(*(session.ended() for session in sessions))
        for opening, welcome in zip(openings, welcomes, strict=True):
            opening.resume_token = welcome.resume_token
        storming = asyncio.create_task(storm(channels, openings))
        await server.start()
        sessions, again = await storming
        assert all(welcome.resumed for welcome in again)
        assert [owned(welcome) for welcome in again] == [[claim] for claim in held]
        assert min(welcome.session_epoch for welcome in again) > max(
            welcome.session_epoch for welcome in welcomes
        )
        connected = [swarm.swarm_id async for swarm in client.swarms.list() if swarm.connected]
        assert connected == [opening.swarm_id for opening in openings]
        assert await owners(client) == {
            claim: opening.swarm_id for claim, opening in zip(held, openings, strict=True)
        }
        await asyncio.gather(*(session.drop() for session in sessions))
