"""The JSON API and the live events of the real server, next to its gRPC side."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infrafabric import Client, Session
from infrafabric.v1 import status_pb2
from infrafabric.v1.blocker_pb2 import Blocker
from infrafabric.v1.notify_service_pb2 import NotifyRequest
from tests.harness.server import ServerProcess

PATIENCE = 20.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with ServerProcess(tmp_path, environment={"INFRAFABRIC_LEASE_SECONDS": "1"}) as it:
        yield it


@pytest.fixture
async def http(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{server.http}", timeout=PATIENCE) as it:
        yield it


async def post(http: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def agents(http: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await http.get("/status")).json()["agents"]
    return found


class Stream:
    """Server-sent events: names, data, and the cursor of the last one."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.cursor = ""

    async def next(self) -> tuple[str, Any]:
        """Return the next event."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            name, _, value = line.partition(": ")
            fields[name] = value
            if not line and "data" in fields:
                self.cursor = fields.get("id", self.cursor)
                return fields["event"], json.loads(fields["data"])
        raise AssertionError("the stream ended")

    async def until(self, name: str) -> list[tuple[str, Any]]:
        """Return the events up to and with the first of that name."""
        seen: list[tuple[str, Any]] = []
        async with asyncio.timeout(PATIENCE):
            while not seen or seen[-1][0] != name:
                seen.append(await self.next())
        return seen


async def test_n4_http_and_grpc_show_the_same_fleet(
    client: Client, http: httpx.AsyncClient
) -> None:
    await post(http, "/agent/idle", session_id="a", capabilities=["go"], cost_spent=0.25)
    await client.statuses.notify(
        NotifyRequest(swarm_id="b", status=status_pb2.STATUS_BLOCKED, message="why")
    )
    (page,) = [page async for page in client.statuses.pages()]
    shown = await agents(http)
    assert [agent.swarm_id for agent in page.agents] == list(shown) == ["a", "b"]
    for agent in page.agents:
        other = shown[agent.swarm_id]
        assert status_pb2.Status.Name(agent.status) == f"STATUS_{other['status'].upper()}"
        assert agent.status_time.ToJsonString() == other["time"]
        assert agent.cost_spent_micros == other["cost_spent"] * 10**6
        assert list(agent.capabilities) == other["capabilities"]
        assert (agent.message or None) == other["message"]
    assert [blocker.swarm_id for blocker in page.blockers] == ["b"]
    assert (page.total_agents, page.idle_agents) == (2, 1)


async def test_n10_both_watches_tell_the_same_with_the_same_cursors(
    client: Client, http: httpx.AsyncClient
) -> None:
    async with http.stream("GET", "/events") as answer:
        stream = Stream(answer)
        await stream.until("snapshot_end")
        watched = client.statuses.watch()
        async with asyncio.timeout(PATIENCE):
            while (await anext(watched)).WhichOneof("event") != "snapshot_end":
                pass
        await post(http, "/agent/busy", session_id="a", last_task="t")
        await post(http, "/broadcast", message="stop at noon")
        for kind in ("changed", "broadcast"):
            name, data = await stream.next()
            event = await anext(watched)
            assert (name, event.WhichOneof("event")) == (kind, kind)
            assert event.cursor == stream.cursor
            if kind == "changed":
                assert event.changed.last_task == data["last_task"] == "t"
            else:
                assert event.broadcast.message == data["message"] == "stop at noon"


async def test_n10_what_was_answered_survives_a_crash_and_watchers_resume(
    server: ServerProcess, http: httpx.AsyncClient
) -> None:
    async with http.stream("GET", "/events") as answer:
        stream = Stream(answer)
        await stream.until("snapshot_end")
        cursor = stream.cursor
    for number in range(20):
        await post(http, "/agent/busy", session_id="s", last_task=f"t{number}", cost_spent=number)
    await post(http, "/agent/blocked", session_id="s", message="no network")
    await post(http, "/broadcast", message="stop", request_id="r1")
    before = await agents(http)
    await server.kill()
    await server.start()
    assert await agents(http) == before
    assert await post(http, "/broadcast", message="stop", request_id="r1")
    async with http.stream("GET", "/events", headers={"last-event-id": cursor}) as answer:
        events = await Stream(answer).until("broadcast")
    tasks = [data["last_task"] for name, data in events if name == "changed"]
    assert [f"t{number}" for number in range(20)] == tasks[:20]
    assert [name for name, _ in events].count("broadcast") == 1
    assert "snapshot" not in [name for name, _ in events]


async def test_n1_a_sessions_life_is_seen_over_http(
    server: ServerProcess, http: httpx.AsyncClient
) -> None:
    async with http.stream("GET", "/events") as answer:
        stream = Stream(answer)
        await stream.until("snapshot_end")
        async with Session(server.grpc, swarm_id="w", capabilities=["a"]) as session:
            await session.opened()
            assigned = await post(http, "/task/assign", session_id="w", task={"id": "t1", "n": 3})
            assert assigned["task"] == {"id": "t1", "title": None, "attempt": 1}
            async with asyncio.timeout(PATIENCE):
                task = await anext(session)
            assert (task.task_id, task.input) == ("t1", {"n": 3})
            await task.complete(cost_micros=40)
            seen: list[dict[str, Any]] = []
            while not seen or (seen[-1]["status"], seen[-1]["last_task"]) != ("idle", "t1"):
                seen += [data for _, data in await stream.until("changed")]
        assert [each["status"] for each in seen[-3:]] == ["busy", "completed", "idle"]
        assert seen[-1]["cost_spent"] == 0.00004
        # The session is closed: the swarm waits for no work any more.
        while seen[-1]["waiting_since"] is not None:
            seen += [data for _, data in await stream.until("changed")]
        assert (await http.get("/status")).json()["idle_queue"] == []


async def test_n8_a_blocker_over_http_reaches_the_orchestrator_again_and_again(
    tmp_path: Path,
) -> None:
    settings = {"INFRAFABRIC_ESCALATE_SECONDS": "0.2"}
    async with (
        ServerProcess(tmp_path, environment=settings) as server,
        httpx.AsyncClient(base_url=f"http://{server.http}") as http,
        Client(server.grpc) as client,
    ):
        await post(http, "/agent/blocked", session_id="s", message="no network")

        async def blocker() -> Blocker:
            (page,) = [page async for page in client.statuses.pages()]
            (found,) = page.blockers
            return found

        assert (await blocker()).description == "no network"
        async with asyncio.timeout(PATIENCE):
            while (await blocker()).escalations < 2:
                pass


async def test_a_stopping_server_ends_its_streams_and_leaves_with_0(
    server: ServerProcess, http: httpx.AsyncClient
) -> None:
    async with http.stream("GET", "/events") as answer:
        stream = Stream(answer)
        await stream.until("snapshot_end")
        stopping = asyncio.create_task(server.stop())
        with pytest.raises(AssertionError, match="the stream ended"):
            await stream.next()
        assert await stopping == 0


async def test_other_pages_are_kept_out_of_the_real_server(http: httpx.AsyncClient) -> None:
    rebound = await http.get("/status", headers={"host": "rebind.example.com"})
    assert rebound.status_code == 403
    foreign = {"origin": "https://example.com", "content-type": "text/plain"}
    answer = await http.post("/agent/idle", content='{"session_id": "s"}', headers=foreign)
    assert answer.status_code == 403
    assert await agents(http) == {}


async def test_metrics_of_both_sides_are_in_one_place(
    client: Client, http: httpx.AsyncClient
) -> None:
    assert [page async for page in client.statuses.pages()]
    text = (await http.get("/metrics")).text
    assert "infrafabric_http_requests_total" in text
    assert "infrafabric_grpc" in text
