"""What the README shows is run, and must print what it says."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infrafabric import Client
from infrafabric.v1 import task_pb2
from tests.harness.documents import ROOT, blocks, shell, steps
from tests.harness.server import ServerProcess

README = (ROOT / "README.md").read_text()


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


async def test_u2_the_python_session_works_as_shown(server: ServerProcess, tmp_path: Path) -> None:
    client = await one_task(server)
    (program,) = blocks(README, "python")
    script = tmp_path / "worker.py"
    script.write_text(program.replace("localhost:50051", server.grpc))
    worker = await asyncio.create_subprocess_exec(sys.executable, str(script))
    try:
        await completed(client)
    finally:
        worker.kill()
        await worker.wait()
        await client.close()


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


async def completed(client: Client) -> None:
    """Return when the task is completed."""
    async with asyncio.timeout(30):
        async for event in client.tasks.watch():
            task = event.changed if event.HasField("changed") else event.snapshot
            if task.state == task_pb2.TASK_STATE_COMPLETED:
                return
