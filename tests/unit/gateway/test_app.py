"""The JSON API on a real fabric: every route, and what it answers."""

import asyncio
import json
from datetime import timedelta

from infrafabric_server.fleet.models import Status
from tests.unit.gateway.site import Site, agents, post
from tests.unit.notify.world import ManualClock, World


async def test_n5_every_report_is_received() -> None:
    async with World() as world, Site(world).client() as client:
        told = {status: await post(client, f"/agent/{status}", session_id="s") for status in Status}
    assert {answer.status_code for answer in told.values()} == {200}
    assert {status: answer.json() for status, answer in told.items()} == {
        Status.IDLE: {"status": "received", "queue_position": 1},
        Status.BUSY: {"status": "received"},
        Status.BLOCKED: {"status": "received", "escalated": True},
        Status.COMPLETED: {"status": "received", "queue_position": 1},
        Status.HELP: {"status": "received", "helpers_found": 0, "helpers": []},
    }


async def test_n4_the_status_of_the_fleet_has_the_fields_of_n2() -> None:
    clock = ManualClock()
    async with World(clock=clock) as world, Site(world).client() as client:
        empty = await client.get("/status")
        assert empty.json() == {
            "total_agents": 0,
            "idle_agents": 0,
            "idle_queue": [],
            "agents": {},
        }
        await post(
            client,
            "/agent/idle",
            session_id="a",
            timestamp="2025-11-12T09:30:00",
            waiting_since="2025-11-12T09:00:00",
            last_task="cleaned up",
            capabilities=["rust", "go"],
            cost_spent=12.5,
            tasks_completed=3,
        )
        await post(client, "/agent/blocked", session_id="b", message="no network")
        answer = (await client.get("/status")).json()
    assert answer == {
        "total_agents": 2,
        "idle_agents": 1,
        "idle_queue": ["a"],
        "agents": {
            "a": {
                "session_id": "a",
                "status": "idle",
                "time": "2025-11-12T09:30:00Z",
                "timestamp": "2025-11-12T09:30:00Z",
                "last_task": "cleaned up",
                "capabilities": ["go", "rust"],
                "cost_spent": 12.5,
                "tasks_completed": 3,
                "waiting_since": "2025-11-12T09:00:00Z",
                "message": None,
            },
            "b": {
                "session_id": "b",
                "status": "blocked",
                "time": "2025-11-12T10:00:00Z",
                "timestamp": "2025-11-12T10:00:00Z",
                "last_task": None,
                "capabilities": [],
                "cost_spent": 0.0,
                "tasks_completed": 0,
                "waiting_since": None,
                "message": "no network",
            },
        },
    }


async def test_n4_a_large_fleet_is_shown_whole() -> None:
    async with World() as world, Site(world).client() as client:
        names = [f"s{number:03}" for number in range(250)]
        await asyncio.gather(*(post(client, "/agent/idle", session_id=name) for name in names))
        answer = (await client.get("/status")).json()
    assert sorted(answer["agents"]) == names
    assert sorted(answer["idle_queue"]) == names


async def test_n4_what_is_empty_or_absent_erases_nothing() -> None:
    async with World() as world, Site(world).client() as client:
        await post(
            client,
            "/agent/busy",
            session_id="s",
            last_task="t",
            capabilities=["go"],
            cost_spent=0.1,
            tasks_completed=2,
        )
        before = (await agents(client))["s"]
        await post(
            client,
            "/agent/busy",
            session_id="s",
            last_task=None,
            capabilities=[],
            cost_spent=0,
            tasks_completed=0,
            message=None,
        )
        assert (await agents(client))["s"] == before


async def test_n4_running_totals_charge_their_rise() -> None:
    async with World() as world, Site(world).client() as client:
        for cost in (0.1, 0.1 + 0.2, 0.1 + 0.2, 0.25):
            await post(client, "/agent/busy", session_id="s", cost_spent=cost)
        assert (await agents(client))["s"]["cost_spent"] == 0.55


async def test_n5_helpers_are_ids_best_first() -> None:
    async with World() as world, Site(world).client() as client:
        await post(client, "/agent/idle", session_id="half", capabilities=["rust", "css"])
        await post(client, "/agent/idle", session_id="full", capabilities=["rust", "go"])
        answer = await post(client, "/agent/help", session_id="s", needs=["rust", "go"])
        own = await post(client, "/agent/help", session_id="s", capabilities=["css"])
    assert answer.json()["helpers_found"] == 2
    assert answer.json()["helpers"] == ["full", "half"]
    assert own.json()["helpers"] == ["half"]


async def test_n4_curl_sends_json_as_a_form_and_is_understood() -> None:
    async with World() as world, Site(world).client() as client:
        answer = await client.post(
            "/agent/busy",
            content='{"session_id": "s"}',
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        assert answer.status_code == 200
        assert (await client.post("/agent/busy", content='{"session_id": "s"}')).status_code == 200


async def test_n4_a_task_is_created_and_claimed_for_the_session_that_it_is_assigned_to() -> None:
    async with World() as world, Site(world).client() as client:
        task = {"id": "t1", "title": "Wire it", "file": "a.py", "lines": [1, 2.5]}
        for _ in range(2):
            answer = await post(client, "/task/assign", session_id="s", task=task)
            assert (answer.status_code, answer.json()) == (
                200,
                {
                    "status": "received",
                    "session_id": "s",
                    "task": {"id": "t1", "title": "Wire it", "attempt": 1},
                },
            )
        await world.becomes("s", Status.BUSY, last_task="t1")
        found = world.coordinator.tasks.get("t1")
        assert found is not None
        assert found.spec.title == "Wire it"
        assert json.loads(found.spec.input_json) == {"file": "a.py", "lines": [1, 2.5]}
        refused = await post(client, "/task/assign", session_id="other", task={"id": "t1"})
        assert refused.status_code == 409
        assert refused.json()["reason"] == "ALREADY_CLAIMED"
        assert refused.json()["owner"] == "s"


async def test_n4_a_task_that_has_ended_cannot_be_assigned() -> None:
    async with World() as world, Site(world).client() as client:
        await post(client, "/task/assign", session_id="s", task={"id": "t1"})
        await world.complete("s", "t1")
        answer = await post(client, "/task/assign", session_id="s", task={"id": "t1"})
        assert answer.status_code == 409
        assert "completed" in answer.json()["message"]


async def test_n4_a_text_reaches_the_record_of_broadcasts() -> None:
    async with World() as world, Site(world).client() as client:
        await world.connect("a")
        answer = await post(client, "/broadcast", message="stop at noon", request_id="r1")
        again = await post(client, "/broadcast", message="stop at noon", request_id="r1")
        assert answer.json() == again.json() == {"status": "received", "recipients": 1}
        assert len(world.coordinator.records.broadcasts) == 1
        other = await post(client, "/broadcast", message="go", request_id="r1")
        assert (other.status_code, other.json()["reason"]) == (409, "REQUEST_ID_REUSED")


async def test_requests_are_counted_by_route_and_status() -> None:
    async with World() as world, Site(world).client() as client:
        await post(client, "/agent/idle", session_id="s")
        await client.get("/no/such/path")
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    line = 'infrafabric_http_requests_total{code="200",route="/agent/idle"} 1.0'
    assert line in answer.text
    assert 'infrafabric_http_requests_total{code="404",route="none"} 1.0' in answer.text


async def test_n5_a_moved_clock_shows_how_long_swarms_wait() -> None:
    clock = ManualClock()
    async with World(clock=clock) as world, Site(world).client() as client:
        await post(client, "/agent/idle", session_id="a")
        clock.advance(timedelta(minutes=1))
        await post(client, "/agent/idle", session_id="b")
        await post(client, "/agent/idle", session_id="a")
        answer = (await client.get("/status")).json()
    assert answer["idle_queue"] == ["a", "b"]
    assert answer["agents"]["a"]["waiting_since"] == "2025-11-12T10:00:00Z"
