"""What the README shows is run, and must print what it says."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from infrafabric import Client
from infrafabric.v1 import task_pb2
from infrafabric.values import to_struct
from tests.harness.documents import ROOT, blocks, shell, steps
from tests.harness.server import ServerProcess

README = (ROOT / "README.md").read_text()
PYTHON = (ROOT / "clients/python/README.md").read_text()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """Return a running server."""
    async with ServerProcess(tmp_path) as running:
        yield running


async def one_task(server: ServerProcess) -> Client:
    """Return a client of a server that has one task for whoever knows Python."""
    client = Client(server.grpc)
    task = task_pb2.Task(task_id="t", required_capabilities=["python"])
    await client.tasks.create(task)
    return client


async def test_u1_the_transcript_prints_what_the_readme_says(server: ServerProcess) -> None:
    (transcript,) = blocks(README, "console")
    for command, expected in steps(transcript):
        output = await shell(command, server)
        for line in expected:
            assert line in output, f"{command} printed\n{output}"


async def test_u2_the_python_session_works_as_shown(server: ServerProcess) -> None:
    client = await one_task(server)
    (program,) = blocks(README, "python")
    async with running(program, server):
        await completed(client)
    await client.close()


async def test_u2_the_python_guide_works_as_shown(server: ServerProcess) -> None:
    """A worker and a supervisor, each as its block shows it; a task without a text fails alone."""
    work, supervise = blocks(PYTHON, "python")
    async with (
        running(work, server),
        running(supervise, server) as supervisor,
        asyncio.timeout(30),
    ):
        assert await supervisor.wait() == 0
        async with Client(server.grpc) as client:
            await completed(client)
            task = await client.tasks.get("greet")
            shouting = task_pb2.Task(task_id="poison", required_capabilities=["text/shout"])
            shouting.retry_policy.max_attempts = 1
            await client.tasks.create(shouting)
            assert (await ended(client, "poison")).reason == "KeyError('text')"
            shouting.task_id = "next"
            shouting.input.CopyFrom(to_struct({"text": "on"}))
            await client.tasks.create(shouting)
            assert (await ended(client, "next")).state == task_pb2.TASK_STATE_COMPLETED
    assert (task.result["text"], task.cost_micros) == ("HELLO", 2_000)


async def test_u2_a_command_is_a_worker_as_shown(server: ServerProcess) -> None:
    client = await one_task(server)
    (line,) = (block.strip() for block in blocks(README, "sh") if "--exec" in block)
    output = await shell(f"{line} --max-tasks 1", server)
    try:
        await completed(client)
    except TimeoutError:
        pytest.fail(output)
    finally:
        await client.close()


async def test_n7_the_shell_functions_work_as_shown(server: ServerProcess) -> None:
    (script,) = (block for block in blocks(README, "sh") if "notify.sh" in block)
    await shell(script, server)
    status = await shell("curl -s localhost:8765/status", server)
    assert '"linus"' in status
    assert '"busy"' in status


@asynccontextmanager
async def running(program: str, server: ServerProcess) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program as a document shows it; it is killed with the block."""
    program = program.replace("localhost:50051", server.grpc)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def completed(client: Client) -> None:
    """Return when a task is completed."""
    async with asyncio.timeout(30):
        async for task in tasks(client):
            if task.state == task_pb2.TASK_STATE_COMPLETED:
                return


async def ended(client: Client, task_id: str) -> task_pb2.Task:
    """Return a task when it is completed or has failed."""
    async for task in tasks(client):
        if task.task_id == task_id and task.HasField("end_time"):
            return task
    raise AssertionError("the watch ended")


async def tasks(client: Client) -> AsyncIterator[task_pb2.Task]:
    """Yield each task as it is, and at each change."""
    async for event in client.tasks.watch():
        yield event.changed if event.HasField("changed") else event.snapshot
