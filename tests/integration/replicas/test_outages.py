"""What callers are told by servers to which etcd gives nothing, or of which it takes nothing."""

import asyncio
from contextlib import AsyncExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.struct_pb2 import Struct

from infrafabric import Client, FabricError
from infrafabric.v1.notify_service_pb2 import NotifyRequest
from infrafabric.v1.status_pb2 import STATUS_IDLE
from infrafabric.v1.task_pb2 import DISPATCH_MANUAL, Task
from tests.harness.cluster import Backing, Cluster
from tests.harness.server import ServerProcess

_QUOTA = 16 * 1024 * 1024
# Bytes that are written at a time until it is reached.
_PIECE = 50_000
# Seconds that all reads of a step may take.
_SOON = 20.0


def _task(task_id: str, size: int = 0) -> Task:
    pad = Struct()
    pad["pad"] = "x" * size
    return Task(task_id=task_id, input=pad, dispatch=DISPATCH_MANUAL)


async def _fill(backing: Backing, client: Client) -> list[str]:
    """Fill etcd until the fabric is refused; return the tasks that were created meanwhile."""
    await asyncio.to_thread(backing.etcd.fill, "filler/", _QUOTA)
    created: list[str] = []
    with suppress(FabricError):
        for number in range(_QUOTA // _PIECE):
            await client.tasks.create(_task(f"fill{number}", _PIECE))
            created.append(f"fill{number}")
        raise AssertionError("etcd takes more than its quota")
    # The newest revision is now one that no watch of the fabric shows.
    backing.etcd.control("del", "filler/0")
    return created


async def _told(client: Client, task_ids: list[str]) -> None:
    """Read all that there is to be read, and compare it with what was acknowledged."""
    async with asyncio.timeout(_SOON):
        assert (await client.tasks.get(task_ids[0])).task_id == task_ids[0]
        # Whether the one that was refused last was created is not known to who asked for it.
        listed = {task.task_id async for task in client.tasks.list()}
        assert set(task_ids) <= listed
        assert len(listed) <= len(task_ids) + 1
        statuses = [each async for page in client.statuses.pages() for each in page.agents]
        assert [each.swarm_id for each in statuses] == ["agent"]
        assert (await anext(client.statuses.watch())).WhichOneof("event") == "snapshot"
        assert (await anext(client.tasks.watch())).WhichOneof("event") == "snapshot"
        assert [entry async for entry in client.witness.query()]


async def _refused(client: Client, why: str, task_id: str = "refused") -> None:
    with pytest.raises(FabricError, match=why) as refused:
        await client.tasks.create(_task(task_id, _PIECE))
    assert refused.value.reason == "ERROR_REASON_STORE_UNAVAILABLE"


async def test_reads_go_on_at_both_replicas_while_etcd_is_full(tmp_path: Path) -> None:
    backing = Backing(tmp_path, etcd_arguments=[f"--quota-backend-bytes={_QUOTA}"])
    async with AsyncExitStack() as stack:
        stack.enter_context(backing)
        cluster = await stack.enter_async_context(Cluster(tmp_path, replicas=2, backing=backing))
        clients = [
            await stack.enter_async_context(Client(replica.grpc)) for replica in cluster.replicas
        ]
        first, second = clients
        await first.statuses.notify(NotifyRequest(swarm_id="agent", status=STATUS_IDLE))
        await second.tasks.create(_task("t"))
        known = ["t", *await _fill(backing, first)]
        for client in clients:
            await _told(client, known)
            await _refused(client, "full")
        await asyncio.to_thread(backing.etcd.make_room)
        for number, client in enumerate(clients):
            await client.tasks.create(_task(f"after{number}"))
        for client in clients:
            assert {"after0", "after1"} <= {task.task_id async for task in client.tasks.list()}


async def _get(server: ServerProcess, path: str) -> tuple[int, dict[str, Any]]:
    async with httpx.AsyncClient(base_url=f"http://{server.http}", timeout=_SOON) as http:
        answer = await http.get(path)
        return answer.status_code, answer.json()


async def test_a_server_whose_access_is_taken_away_is_unavailable_until_it_is_given_back(
    tmp_path: Path,
) -> None:
    """Its callers can go to another replica, and nobody has to start it again."""
    backing = Backing(tmp_path)
    (tmp_path / "password").write_text("secret\n")
    async with AsyncExitStack() as stack:
        stack.enter_context(backing)
        for command in (
            "user add root:top", "user grant-role root root",
            "role add fabric", "role grant-permission fabric --prefix=true readwrite fabric/",
            "user add me:secret", "user grant-role me fabric", "auth enable",
        ):  # fmt: skip
            backing.etcd.control(*command.split())
        environment = {
            "INFRAFABRIC_ETCD_USER": "me",
            "INFRAFABRIC_ETCD_PASSWORD_FILE": str(tmp_path / "password"),
        }
        cluster = await stack.enter_async_context(
            Cluster(tmp_path, replicas=1, backing=backing, environment=environment)
        )
        (server,) = cluster.replicas
        client = await stack.enter_async_context(Client(server.grpc))
        await client.tasks.create(_task("t"))
        for what, away, back in (
            ("role", "user revoke-role me fabric", "user grant-role me fabric"),
            (
                "password",
                "user passwd me --interactive=false",
                "user passwd me --interactive=false",
            ),
        ):
            backing.etcd.control("--user=root:top", *away.split(), text="another")
            await _refused(client, "denies this server access, and nothing was done")
            with pytest.raises(FabricError, match="denies this server access"):
                await client.tasks.get("t")
            status, body = await _get(server, "/status")
            assert (status, body["reason"]) == (
                HTTPStatus.SERVICE_UNAVAILABLE,
                "STORE_UNAVAILABLE",
            )
            status, body = await _get(server, "/healthz")
            assert status == HTTPStatus.SERVICE_UNAVAILABLE
            assert "etcd denies our user" in body["message"]
            backing.etcd.control("--user=root:top", *back.split(), text="secret")
            assert (await client.tasks.get("t")).task_id == "t"
            await client.tasks.create(_task(f"after-{what}"))
        assert await server.stop() == 0
