"""A session over several servers, which share what they know."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from infrafabric import Session, SessionOptions
from infrafabric.v1 import error_pb2
from tests.unit.client.fabric_model import status_of
from tests.unit.client.scripted_server import ScriptedServer, scripted_server


@pytest.fixture
async def replicas() -> AsyncIterator[list[ScriptedServer]]:
    """Three servers of one fabric."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(scripted_server()) for _ in range(3)]
        for server in servers:
            server.model = servers[0].model
        yield servers


def session_of(servers: list[ScriptedServer], *, begins: float = 0.0) -> Session:
    target = ",".join(server.target for server in servers)
    return Session(target, swarm_id="s1", options=SessionOptions(random=lambda: begins))


async def test_begins_with_any_of_them(replicas: list[ScriptedServer]) -> None:
    for server in replicas[:2]:
        await server.stop()
    async with session_of(replicas, begins=0.9) as session:
        await session.opened()
    assert len(replicas[0].model.opened) == 1


async def test_goes_on_until_one_can_be_reached(replicas: list[ScriptedServer]) -> None:
    for server in replicas[:2]:
        await server.stop()
    async with session_of(replicas) as session:
        await session.opened()
    assert len(replicas[0].model.opened) == 1


async def dies(server: ScriptedServer) -> None:
    await server.stop()


async def drains(server: ScriptedServer) -> None:
    server.end_with(status_of(error_pb2.ERROR_REASON_DRAINING))


@pytest.mark.parametrize("ends", [dies, drains])
async def test_u6_keeps_its_tasks_when_a_server_ends(
    replicas: list[ScriptedServer], ends: Callable[[ScriptedServer], Awaitable[None]]
) -> None:
    model = replicas[0].model
    async with session_of(replicas) as session:
        await session.opened()
        model.assign("t")
        replicas[0].changed()
        task = await anext(session)
        for server in replicas[:2]:
            await ends(server)
        await task.complete()
        assert not task.revoked.is_set()
    assert model.completions == {"t": 1}
    first, *later = [opening.resume_token for opening in model.opened]
    assert not first
    assert later
    assert set(later) == {"token-1"}
