"""What the JSON API refuses, and in which words."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from infrafabric_server.coordinator.models import ClaimOutcome
from infrafabric_server.errors import Reason
from infrafabric_server.gateway import bodies
from infrafabric_server.gateway.refusals import STATUSES
from infrafabric_server.gateway.requests import StatusBody
from tests.unit.gateway.site import Site, agents, post
from tests.unit.notify.stores import Failing
from tests.unit.notify.world import World

POSTS = ["/agent/idle", "/agent/busy", "/agent/blocked", "/agent/completed", "/agent/help"]
POSTS += ["/task/assign", "/broadcast"]
GETS = ["/status", "/events", "/healthz", "/metrics"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/agent/idle", {}, "session_id"),
        ("/agent/idle", {"session_id": None}, "session_id"),
        ("/agent/idle", {"session_id": "s", "status": "busy"}, "status"),
        ("/agent/busy", {"session_id": "s", "last_task": "x" * 257}, "last_task"),
        ("/agent/blocked", {"session_id": "s", "message": "x" * 4097}, "message"),
        ("/agent/help", {"session_id": "s", "capabilities": ["a b"]}, "capabilities[0]"),
        ("/agent/completed", {"session_id": "s", "cost_spent": "1"}, "cost_spent"),
        ("/task/assign", {"session_id": "s"}, "task"),
        ("/task/assign", {"session_id": "s", "task": "t1"}, "task"),
        ("/task/assign", {"session_id": "s", "task": {}}, "task.id"),
        ("/task/assign", {"session_id": "s", "task": {"id": "a b"}}, "task.id"),
        ("/task/assign", {"session_id": "s", "task": {"id": "t", "title": 1}}, "task.title"),
        ("/task/assign", {"session_id": "s", "task": {"id": "t", "x": "\ud800"}}, "task"),
        ("/task/assign", {"session_id": "s", "task": {"id": "t", "\ud800": 1}}, "task"),
        ("/task/assign", {"session_id": "s", "task": {"id": "t", "x": "y" * 262_144}}, "task"),
        ("/broadcast", {}, "message"),
        ("/broadcast", {"message": ""}, "message"),
        ("/broadcast", {"message": "x", "request_id": "a b"}, "request_id"),
    ],
)
async def test_n4_bad_input_is_422_with_field_and_reason(
    path: str, body: dict[str, Any], field: str
) -> None:
    async with World() as world, Site(world).client() as client:
        answer = await client.post(path, content=json.dumps(body))
        assert answer.status_code == 422
        told = answer.json()
        assert (told["status"], told["reason"]) == ("refused", "INVALID_FIELD")
        assert [each["field"].startswith(field) for each in told["fields"]] == [True]
        for each in told["fields"]:
            assert each["rule"].startswith(("must ", "each entry must ", "is required"))
        assert len(world.fleet.swarms) == 0


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "[NaN]"])
async def test_n4_numbers_that_json_has_not_are_refused_in_a_tasks_input(number: str) -> None:
    async with World() as world, Site(world).client() as client:
        body = '{"session_id": "s", "task": {"id": "t", "x": ' + number + "}}"
        answer = await client.post("/task/assign", content=body)
        assert answer.status_code == 422
        assert answer.json()["fields"][0]["field"].startswith("task")


async def test_a_body_that_is_too_long_is_refused_before_it_is_read() -> None:
    async with World() as world, Site(world).client() as client:
        answer = await client.post("/broadcast", content=b" " * (bodies.MAX_BODY_BYTES + 1))

        async def without_a_length() -> Any:
            for _ in range(2000):
                yield b" " * 1024

        streamed = await client.post("/broadcast", content=without_a_length())
    for each in (answer, streamed):
        assert each.status_code == 422
        assert each.json()["fields"][0]["field"] == "body"
        assert each.headers["connection"] == "close"


async def test_a_body_that_does_not_arrive_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)

    async def slow() -> Any:
        yield b"{"
        await asyncio.get_running_loop().create_future()

    async with World() as world, Site(world).client() as client:
        answer = await client.post("/broadcast", content=slow())
    assert answer.status_code == 422
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "path", ["/", "/agent", "/agent/", "/agent/asleep", "/agent/idle/", "/tasks", "/status/x"]
)
async def test_a_path_that_is_not_there_is_answered_in_json(path: str) -> None:
    async with World() as world, Site(world).client() as client:
        answer = await client.post(path, json={})
    assert answer.status_code == 404
    assert (answer.json()["status"], answer.json()["reason"]) == ("refused", "NOT_FOUND")


@pytest.mark.parametrize("path", POSTS + GETS)
async def test_a_method_that_is_not_there_is_answered_in_json(path: str) -> None:
    async with World() as world, Site(world).client() as client:
        wrong = await client.request("GET" if path in POSTS else "POST", path)
        assert wrong.status_code == 405
        assert wrong.json()["reason"] == "METHOD_NOT_ALLOWED"
        assert wrong.headers["allow"]
        takes = "POST" if path in POSTS else "GET or HEAD"
        assert wrong.json()["message"] == f"{path} takes {takes}, not {wrong.request.method}"


async def test_pages_of_others_are_refused() -> None:
    async with World() as world, Site(world).client() as client:
        headers = {"origin": "https://example.com"}
        answer = await client.post("/agent/idle", json={"session_id": "s"}, headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (403, "FORBIDDEN")
        rebound = await client.get("/status", headers={"host": "rebind.example.com"})
        assert rebound.status_code == 403
        assert len(world.fleet.statuses) == 0


async def test_n9_a_draining_server_sends_reports_elsewhere_and_still_shows_the_fleet() -> None:
    async with World() as world:
        site = Site(world)
        async with site.client() as client:
            await post(client, "/agent/idle", session_id="s")
            site.draining = True
            for path, body in {
                "/agent/busy": {"session_id": "s"},
                "/broadcast": {"message": "x"},
                "/task/assign": {"session_id": "s", "task": {"id": "t"}},
            }.items():
                answer = await client.post(path, json=body)
                assert (answer.status_code, answer.json()["reason"]) == (503, "DRAINING")
                assert int(answer.headers["retry-after"]) >= 1
            assert (await client.get("/healthz")).status_code == 503
            assert (await agents(client))["s"]["status"] == "idle"


async def test_health_tells_why_the_store_takes_no_write() -> None:
    async with World(wrap=Failing) as world, Site(world).client() as client:
        assert isinstance(world.store, Failing)
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        world.store.full = True
        answer = await client.get("/healthz")
        assert answer.status_code == 503
        assert "no space left" in answer.json()["message"]


async def test_an_outage_of_the_store_is_503() -> None:
    async with World(wrap=Failing) as world, Site(world).client() as client:
        assert isinstance(world.store, Failing)
        await post(client, "/agent/idle", session_id="s")
        world.store.failures = 1
        answer = await post(client, "/agent/busy", session_id="s")
        assert (answer.status_code, answer.json()["reason"]) == (503, "STORE_UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"


async def test_a_fault_of_ours_is_500_without_its_text() -> None:
    class Broken:
        async def hand_over(
            self, swarm_id: str, task_id: str, title: str, input_json: str
        ) -> ClaimOutcome:
            raise RuntimeError(f"secret of {swarm_id}, {task_id}, {title}, {input_json}")

    async with World() as world, Site(world, dispatch=Broken()).client() as client:
        answer = await post(client, "/task/assign", session_id="s", task={"id": "t"})
    assert (answer.status_code, answer.json()["reason"]) == (500, "INTERNAL")
    assert "secret" not in answer.text


def test_every_refusal_has_its_http_status() -> None:
    assert set(STATUSES) == set(Reason)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["s", "2025-11-12T10:00:00", "\ud800", "9999-12-31T23:59:59-12:00"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)


NAMES = st.sampled_from([*StatusBody.model_fields, "task", "request_id"])


BODIES = (
    st.dictionaries(NAMES, JSON, max_size=6).map(json.dumps)
    | JSON.map(json.dumps)
    | st.text(max_size=40)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(POSTS), BODIES), min_size=1, max_size=4))
@example([("/agent/idle", '{"session_id": "s", "time": "0001-01-01T00:00:00+14:00"}')])
def test_n4_garbage_is_never_a_fault_and_each_422_names_its_field(
    calls: list[tuple[str, str]],
) -> None:
    async def run() -> list[httpx.Response]:
        async with World() as world, Site(world).client() as client:
            sent = [
                await client.post(path, content=text.encode(errors="surrogatepass"))
                for path, text in calls
            ]
            return [*sent, await client.get("/status")]

    *answers, status = asyncio.run(run())
    assert status.status_code == 200
    status.json()
    for answer in answers:
        assert answer.status_code in (200, 409, 422), answer.text
        told = answer.json()
        if answer.status_code == 422:
            assert told["fields"]
            assert all(each["field"] and each["rule"] for each in told["fields"])
