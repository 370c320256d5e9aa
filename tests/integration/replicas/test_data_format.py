"""What an operator sees when a server meets data of a newer release."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from infrafabric import Calls, Client, Session, errors
from infrafabric.v1.task_pb2 import DISPATCH_MANUAL, Task
from infrafabric_cli.exit_codes import ExitCode
from tests.harness.cluster import Backing, Cluster
from tests.harness.server import COMMAND, ServerFailedError, ServerProcess

SENTENCE = "has records of format 3, and this release knows format 2; start the release that wrote"
# A call that nobody answers is given up soon.
HASTY = Calls(deadline=5.0)


@pytest.fixture
async def cluster(tmp_path: Path, backing: Backing) -> AsyncIterator[Cluster]:
    """Two servers."""
    environment = {"INFRAFABRIC_LEASE_SECONDS": "3"}
    async with Cluster(
        tmp_path, replicas=2, backing=backing, prefix=tmp_path.name, environment=environment
    ) as it:
        yield it


def name_format(cluster: Cluster, prefix: str, number: int) -> None:
    """Have the fabric name a format, as a server of that release would."""
    etcd, origin = cluster.backing.etcd, f"{prefix}/own/origin"
    (found,) = json.loads(etcd.control("get", origin, "--write-out=json"))["kvs"]
    facts = json.loads(etcd.control("get", origin, "--print-value-only"))
    etcd.put(origin, json.dumps({"at": found["mod_revision"], **facts, "data_format": number}))


def events(server: ServerProcess) -> list[str]:
    return [json.loads(line)["event"] for line in server.log.splitlines()]


async def refused(server: ServerProcess) -> str:
    """Start a server that must refuse to; return the reason that it gives."""
    with pytest.raises(ServerFailedError, match=f"ended with code {ExitCode.OTHER_FORMAT:d}"):
        await server.start()
    last = json.loads(server.log.splitlines()[-1])
    assert last["event"] == "refused_to_start"
    reason: str = last["reason"]
    return reason


async def test_an_embedded_server_refuses_a_newer_format(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    async with server, Client(server.grpc) as client:
        await client.tasks.create(Task(task_id="t", dispatch=DISPATCH_MANUAL))
        await server.stop()
        name = "UPDATE meta SET value = ? WHERE name = 'data_format'"
        with closing(sqlite3.connect(server.data / "fabric.db")) as database:
            database.execute(name, (3,))
            database.commit()
            assert SENTENCE in await refused(server)
            assert SENTENCE in await complaint("--data", str(server.data))
            database.execute(name, (2,))
            database.commit()
        await server.start()
        assert (await client.tasks.get("t")).task_id == "t"


async def complaint(*arguments: str) -> str:
    """Return what the doctor says of a fabric that a server cannot open."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, "doctor", "--json", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == ExitCode.REFUSED
    (found,) = [each for each in json.loads(output)["findings"] if each["check"] == "fabric"]
    assert found["level"] == "problem"
    return f"{found['text']}; {found['advice']}"


async def test_running_replicas_stop_when_the_format_is_raised(
    cluster: Cluster, tmp_path: Path
) -> None:
    """U6: none crashes, none goes on, and what was there is there when one may start again."""
    first, second = cluster.replicas
    async with (
        Client(first.grpc, calls=HASTY) as client,
        Session(cluster.grpc, swarm_id="w", capabilities=["a"]) as worker,
    ):
        await worker.opened()
        await client.tasks.create(Task(task_id="t", required_capabilities=["a"]))
        assert (await anext(worker)).task_id == "t"
        name_format(cluster, tmp_path.name, 3)
        assert [await first.ended(), await second.ended()] == [1, 1]
    for server in (first, second):
        assert {"store_refused": 1, "drained": 1}.items() <= Counter(events(server)).items()
        assert "Traceback" not in server.log
        assert SENTENCE in server.log
        assert SENTENCE in await refused(server)
    name_format(cluster, tmp_path.name, 2)
    await first.start()
    async with Client(first.grpc) as client:
        assert (await client.tasks.get("t")).attempt == 1


async def test_a_replica_that_hears_of_it_late_writes_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    first, second = cluster.replicas
    await second.stop()
    async with Client(first.grpc, calls=HASTY) as client:
        await client.tasks.create(Task(task_id="before", dispatch=DISPATCH_MANUAL))
        first.pause()
        late = [
            asyncio.create_task(
                client.tasks.create(Task(task_id="late", dispatch=DISPATCH_MANUAL))
            ),
            asyncio.create_task(client.tasks.get("before")),
        ]
        name_format(cluster, tmp_path.name, 3)
        first.resume()
        # Well before calls that hang would be cut off.
        async with asyncio.timeout(8):
            for answer in await asyncio.gather(*late, return_exceptions=True):
                assert isinstance(answer, errors.TryAgain | errors.Unreachable)
            assert await first.ended() == ExitCode.REFUSED
    name_format(cluster, tmp_path.name, 2)
    await second.start()
    async with Client(second.grpc) as client:
        assert [task.task_id async for task in client.tasks.list()] == ["before"]
