"""A disk that is full, or fails: decisions are refused, none that was told is lost."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

import grpc
import httpx
import pytest

from infrafabric import Client, Session, errors
from infrafabric.v1.task_pb2 import (
    DISPATCH_MANUAL,
    TASK_STATE_CLAIMED,
    TASK_STATE_COMPLETED,
    Task,
)
from tests.harness.server import COMMAND, ServerProcess
from tests.integration.fire.disk import Disk, failing_disk, full_disk, locked, namespaces_permitted
from tests.integration.fire.evidence import completions, entries, owners, verify
from tests.integration.fire.health import SERVING, check

# The distributed set-up keeps nothing on the disks of its servers that cannot be had again.
pytestmark = pytest.mark.embedded

# Room for all that the test writes, several times over.
SIZE = 32 * 1024 * 1024
# What a result carries, so that the disk notices.
PAYLOAD = "x" * 20_000
WORKERS = 4
TASKS = 50
# So many tasks are completed when the disk fails, in the middle of others.
ENOUGH = 40

# A full disk needs a file system of its own. Where that is not permitted, the test is left
# with a disk that fails for another reason.
KINDS = ["failing", *(["full"] if namespaces_permitted() else [])]
# What a refusal says, so that somebody can do something.
TOLD = {"failing": "the store did not answer", "full": "make room"}


@pytest.fixture(params=KINDS)
async def disk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Disk]:
    making = full_disk(tmp_path, SIZE) if request.param == "full" else failing_disk()
    async with making as it:
        yield it


class Work:
    """Tasks of some swarms, and which completions were acknowledged under which attempt."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.left = {
            f"w{worker}": [f"w{worker}-{number}" for number in range(TASKS)]
            for worker in range(WORKERS)
        }
        self.done: dict[str, int] = {}
        self.enough = asyncio.Event()

    async def prepare(self) -> None:
        """Create the swarms and their tasks."""
        for swarm_id, task_ids in self.left.items():
            await self._client.swarms.register(swarm_id, [], max_concurrent_tasks=TASKS)
            await self._client.tasks.create_all(
                Task(task_id=task_id, dispatch=DISPATCH_MANUAL) for task_id in task_ids
            )

    async def go_on(self) -> list[BaseException | None]:
        """Work on what is left until it is done or refused; return how each swarm ended."""
        working = [self._work(swarm_id, task_ids) for swarm_id, task_ids in self.left.items()]
        return await asyncio.gather(*working, return_exceptions=True)

    async def _work(self, swarm_id: str, left: list[str]) -> None:
        claims = self._client.claims
        while left:
            answer = await claims.claim(swarm_id, left[-1])
            # A repeat of a claim that was acknowledged is won again, under the same attempt.
            assert (answer.claimed, answer.task.attempt) == (True, 1)
            task = await claims.complete(swarm_id, left[-1], 1, {"text": PAYLOAD})
            self.done[left.pop()] = task.attempt
            if len(self.done) >= ENOUGH:
                self.enough.set()


async def completed(client: Client) -> dict[str, int]:
    """Return all completed tasks and their attempts, as the fabric shows them."""
    listed = [task async for task in client.tasks.list()]
    return {task.task_id: task.attempt for task in listed if task.state == TASK_STATE_COMPLETED}


async def healths(server: ServerProcess) -> tuple[int, int, str]:
    """Return what health says over gRPC and over HTTP."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        status = await check(channel)
    async with httpx.AsyncClient() as http:
        page = await http.get(f"http://{server.http}/healthz")
    return status, page.status_code, page.json()["status"]


async def assert_readable(server: ServerProcess, client: Client, work: Work) -> None:
    """Check that a server which cannot write shows what it acknowledged, and says so."""
    assert await completed(client) == work.done
    with pytest.raises(errors.StoreUnavailable, match="witness log"):
        await completions(client)
    assert await healths(server) == (SERVING, 503, "unavailable")


@pytest.mark.timeout(90)
async def test_u6_spoiled_disk_refuses_loses_nothing_and_recovers_by_itself(
    disk: Disk, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["disk"]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path, wrapper=disk.wrapper))
        client = await stack.enter_async_context(Client(server.grpc))
        session = await stack.enter_async_context(
            Session(server.grpc, swarm_id="s", capabilities=["a"])
        )
        await client.tasks.create(Task(task_id="held", required_capabilities=["a"]))
        held = await anext(session)
        work = Work(client)
        await work.prepare()
        await entries(client, "task_created")
        # From here on nothing is sealed: decisions wait in the outbox when the disk fails.
        async with locked(server.data / "witness.db", disk):
            working = asyncio.create_task(work.go_on())
            await work.enough.wait()
            disk.spoil(server)
            refusals = await working
        for refusal in refusals:
            assert isinstance(refusal, errors.StoreUnavailable), refusal
            assert refusal.retry_after is not None
            assert TOLD[kind] in refusal.message

        await assert_readable(server, client, work)
        completing = asyncio.create_task(held.complete())
        with pytest.raises(errors.StoreUnavailable):
            await client.tasks.create(Task(task_id="new"))
        assert (await client.tasks.get("held")).state == TASK_STATE_CLAIMED
        assert session.connected
        assert not held.revoked.is_set()

        disk.repair(server)
        await completing
        await client.tasks.create(Task(task_id="new", required_capabilities=["a"]))
        new = await anext(session)
        assert (new.task_id, new.attempt) == ("new", 1)
        await new.complete()
        assert await work.go_on() == [None] * WORKERS
        assert await healths(server) == (SERVING, 200, "ok")
        expected = work.done | {"held": 1, "new": 1}
        assert len(expected) == WORKERS * TASKS + 2

        for start in range(2):
            assert await completed(client) == expected
            assert await completions(client) == expected
            assert set(await owners(client)) == set(expected.items())
            if start == 0:
                await server.kill()
                await server.start()
                await session.opened()
        over_the_api = await verify("--server", server.grpc)
        assert await server.stop() == 0
        assert await verify("--data", server.data, wrapper=disk.wrapper) == over_the_api


def in_use(data: Path) -> None:
    """Nothing: the server that made it still runs."""


def of_a_newer_format(data: Path) -> None:
    with closing(sqlite3.connect(data / "fabric.db")) as connection:
        connection.execute("PRAGMA user_version = 99")


def damaged(data: Path) -> None:
    with (data / "fabric.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 4)


def with_a_damaged_log(data: Path) -> None:
    (data / "witness.db").write_bytes(b"no log " * 1000)


def unwritable(data: Path) -> None:
    # Not even the superuser can make a folder below a file.
    shutil.rmtree(data)
    data.touch()


# Under this limit no file of the server can hold anything.
NO_ROOM = ("prlimit", "--fsize=1024", "--")


def without_room(data: Path) -> None:
    """Nothing: the limit comes with the start."""


@pytest.mark.parametrize(
    ("spoil", "wrapper", "code", "told"),
    [
        (in_use, (), 1, "is in use by another process; stop that one"),
        (of_a_newer_format, (), 5, "has tables of format 99, and this release knows format 1;"),
        (damaged, (), 1, "restore the directory from a backup"),
        (with_a_damaged_log, (), 1, "then restore it from a copy"),
        (unwritable, (), 1, "a directory that this user may write to, or choose another one"),
        (without_room, NO_ROOM, 1, "make room on the disk"),
    ],
)
async def test_u6_data_that_cannot_be_used_is_refused_with_what_to_do(
    tmp_path: Path, spoil: Callable[[Path], None], wrapper: Sequence[str], code: int, told: str
) -> None:
    async with ServerProcess(tmp_path) as server:
        if spoil is not in_use:
            assert await server.stop() == 0
        spoil(server.data)
        process = await asyncio.create_subprocess_exec(
            *wrapper,
            *(COMMAND, "serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"),
            *("--data", server.data),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, logged = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert (process.returncode, said) == (code, b"")
        (line,) = map(json.loads, logged.splitlines())
        assert line["event"] == "refused_to_start"
        assert told in line["reason"]
        assert str(server.data) in line["reason"]
