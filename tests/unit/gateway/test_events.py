"""Live events over HTTP, from a real server on a free port."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from infrafabric_server.fleet.models import Status
from infrafabric_server.gateway import events as live
from tests.unit.gateway.site import Site
from tests.unit.notify.world import PATIENCE, World


@dataclass(frozen=True)
class Block:
    """One event as it came; `name` is empty for a comment."""

    name: str
    id: str
    data: Any


async def blocks(answer: httpx.Response) -> AsyncIterator[Block]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        data = json.loads(fields["data"]) if "data" in fields else None
        yield Block(fields.get("event", ""), fields.get("id", ""), data)
        fields = {}


async def read(stream: AsyncIterator[Block], name: str) -> list[Block]:
    """Return the blocks up to and with the first of that name."""
    seen = []
    async with asyncio.timeout(PATIENCE):
        async for block in stream:
            seen.append(block)
            if block.name == name:
                return seen
    raise AssertionError(f"the stream ended before {name}")


async def watchers(client: httpx.AsyncClient, count: int) -> None:
    """Return when there are `count` streams."""
    async with asyncio.timeout(PATIENCE):
        while f"infrafabric_http_watchers {count}.0" not in (await client.get("/metrics")).text:
            pass


async def test_n10_a_snapshot_then_changes_with_a_cursor_to_come_back_with() -> None:
    async with World() as world, Site(world).served() as (_, client):
        await world.report("s", Status.IDLE)
        async with client.stream("GET", "/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            stream = blocks(answer)
            listed, end = await read(stream, "snapshot_end")
            assert (listed.name, listed.id, listed.data["session_id"]) == ("snapshot", "", "s")
            assert (end.data, end.id.isdecimal()) == ({"count": 1}, True)
            await client.post("/agent/busy", json={"session_id": "s", "last_task": "t"})
            (changed,) = await read(stream, "changed")
            assert changed.data["last_task"] == "t"
            assert changed.data == (await client.get("/status")).json()["agents"]["s"]
        await client.post("/broadcast", json={"message": "stop\nat noon"})
        await world.coordinator.registration.deregister("s")
        for path, headers in (
            ("/events", {"last-event-id": changed.id}),
            (f"/events?after={changed.id}", {}),
        ):
            async with client.stream("GET", path, headers=headers) as answer:
                *_, said, gone = await read(blocks(answer), "removed")
            assert (said.name, said.data["message"]) == ("broadcast", "stop\nat noon")
            assert gone.data == {"session_id": "s"}


async def test_n10_a_gap_is_told() -> None:
    async with World() as world, Site(world).served() as (_, client):
        await world.report("s", Status.IDLE)
        later = str(world.mirror.revision + 1000)
        async with client.stream("GET", "/events", params={"after": later}) as answer:
            gap, *_ = await read(blocks(answer), "snapshot_end")
        assert gap.name == "gap"
        assert gap.data["oldest"].isdecimal()


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "9" * 30])
async def test_n10_a_cursor_that_no_watch_sent_is_refused(cursor: str) -> None:
    async with World() as world, Site(world).client() as client:
        answer = await client.get("/events", params={"after": cursor})
    assert (answer.status_code, answer.json()["reason"]) == (422, "INVALID_CURSOR")


async def test_a_silent_stream_is_kept_alive() -> None:
    async with (
        World() as world,
        Site(world, keepalive=0.01).served() as (_, client),
        client.stream("GET", "/events") as answer,
    ):
        stream = blocks(answer)
        await read(stream, "snapshot_end")
        for _ in range(3):
            await read(stream, "")
        await world.report("s", Status.BUSY)
        await read(stream, "changed")


async def test_the_number_of_watchers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_WATCHERS", 1)
    async with World() as world, Site(world).served() as (_, client):
        async with client.stream("GET", "/events") as answer:
            await read(blocks(answer), "snapshot_end")
            refused = await client.get("/events")
            assert (refused.status_code, refused.json()["reason"]) == (429, "LIMIT_REACHED")
        # The place is free again as soon as the server has seen the watcher go.
        await watchers(client, 0)
        async with client.stream("GET", "/events") as answer:
            assert answer.status_code == 200


async def test_the_head_of_the_stream_is_no_stream() -> None:
    async with World() as world, Site(world).client() as client:
        answer = await client.head("/events")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_streams_end_when_the_server_stops() -> None:
    async with (
        World() as world,
        Site(world).served() as (server, client),
        client.stream("GET", "/events") as answer,
    ):
        stream = blocks(answer)
        await read(stream, "snapshot_end")
        server.stop()
        async with asyncio.timeout(PATIENCE):
            assert [block async for block in stream] == []
