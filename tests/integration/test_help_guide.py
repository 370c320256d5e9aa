"""What docs/help.md shows is run, in its order, and must print what it says."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from infrafabric import Client, Session
from infrafabric.v1.task_pb2 import DISPATCH_MANUAL, Task
from infrafabric_server.governor.help.rules import KEPT
from infrafabric_server.governor.policy.models import Helping
from tests.harness.documents import ROOT, blocks, dead_links, follow, program
from tests.harness.server import ServerProcess

GUIDE = (ROOT / "docs" / "help.md").read_text()

# The commands that start who is idle in the example, in this order.
_IDLE = [line.split() for line in blocks(GUIDE, "sh")[0].splitlines()]

# What the guide's helper spends.
_GIVEN = 600_000


@asynccontextmanager
async def _running(command: list[str], server: ServerProcess) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, "INFRAFABRIC_SERVER": server.grpc},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server with the sessions of the guide, started as it says."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path))
        client = await stack.enter_async_context(Client(server.grpc))
        for command in _IDLE:
            swarm_id = command[command.index("--swarm") + 1]
            await stack.enter_async_context(_running(command, server))
            async for event in client.statuses.watch():
                agent = event.changed if event.HasField("changed") else event.snapshot
                if agent.swarm_id == swarm_id and agent.HasField("waiting_since_time"):
                    break
        yield server


@pytest.mark.embedded
async def test_g9_the_commands_of_the_guide_print_what_it_says(fleet: ServerProcess) -> None:
    await follow(GUIDE, fleet)


@pytest.mark.embedded
async def test_g9_the_python_of_the_guide_asks_and_gives(tmp_path: Path) -> None:
    names = program(GUIDE, "docs/help.md")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path))
        client = await stack.enter_async_context(Client(server.grpc))
        ada = await stack.enter_async_context(Session(server.grpc, swarm_id="ada"))
        can = ("vault", "rotation")
        ben = await stack.enter_async_context(
            Session(server.grpc, swarm_id="ben", capabilities=can)
        )
        await ada.opened()
        await ben.opened()
        await client.tasks.create(Task(task_id="key", dispatch=DISPATCH_MANUAL))
        task = (await ada.claim("key")).task
        async with asyncio.TaskGroup() as group:
            giving = group.create_task(names["give"](client, ben, "ben"))
            asking = group.create_task(names["ask"](client, "ada", task))
            async for event in client.tasks.watch():
                if event.changed.spent_micros == _GIVEN:
                    break
            await client.claims.resolve_blocker("ada", task_id="key")
            await asking
            giving.cancel()
        helped = [each async for each in client.help.list()]
        assert [[*each.helper_swarm_ids] for each in helped] == [["ben"]]
        assert helped[0].spent_micros == _GIVEN


@pytest.mark.embedded
def test_g9_the_guide_names_the_defaults_of_the_policy() -> None:
    defaults = Helping()
    assert f"`help.min_coverage` of the needs (the policy's, {defaults.min_coverage})" in GUIDE
    assert f"`help.offer_for` ({defaults.offer_for.seconds} seconds)" in GUIDE
    assert f"`help.max_swarms_per_task` ({defaults.max_swarms_per_task}) help" in GUIDE
    assert KEPT.total_seconds() == 3600
    assert "kept for an hour" in GUIDE


@pytest.mark.embedded
def test_g9_every_link_of_the_guide_leads_somewhere() -> None:
    assert dead_links(GUIDE, ROOT / "docs") == []
