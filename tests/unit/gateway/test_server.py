"""The HTTP server itself: limits on connections, and how it ends."""

import asyncio
import contextlib
import signal
import socket

import httpx
import pytest

from infrafabric_server.fleet.models import Status
from infrafabric_server.gateway import server as http
from tests.unit.gateway.site import Site
from tests.unit.notify.world import PATIENCE, World


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /agent/idle HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /agent/idle HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{",
    ],
    ids=["silent", "half a head", "half a body"],
)
async def test_a_request_that_does_not_arrive_is_not_waited_for(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.05)
    async with World() as world, Site(world).served() as (server, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()
        assert (await client.get("/healthz")).status_code == 200


async def test_a_byte_at_a_time_does_not_buy_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.1)
    async with World() as world, Site(world).served() as (server, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /status HTTP/1.1\r\nHost: ")
        cut = False
        async with asyncio.timeout(PATIENCE):
            while not cut:
                writer.write(b"x")
                try:
                    cut = await asyncio.wait_for(reader.read(1), 0.01) == b""
                except TimeoutError:
                    continue
                except ConnectionError:
                    cut = True
        writer.close()


async def test_an_answer_may_take_longer_than_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.05)
    async with (
        World() as world,
        Site(world, keepalive=0.02).served() as (_, client),
        client.stream("GET", "/events") as answer,
        asyncio.timeout(PATIENCE),
    ):
        comments = 0
        async for line in answer.aiter_lines():
            comments += line == ": keepalive"
            if comments == 10:
                break
    assert comments == 10


async def test_too_many_connections_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 2)
    async with World() as world, Site(world).served() as (server, client):
        assert (await client.get("/healthz")).status_code == 200
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        async with httpx.AsyncClient(base_url=str(client.base_url)) as late:
            assert (await late.get("/healthz")).status_code == 503
        for _, writer in held:
            writer.close()


async def test_signals_stay_with_the_process() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with World() as world, Site(world).served():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_a_stopped_server_listens_no_more() -> None:
    async with World() as world:
        async with Site(world).served() as (server, _):
            port = server.port
        with pytest.raises(OSError, match=str(port)):
            await asyncio.open_connection("127.0.0.1", port)


async def test_keep_alive_serves_one_request_after_another() -> None:
    async with World() as world, Site(world).served() as (_, client):
        for _ in range(3):
            assert (await client.post("/agent/idle", json={"session_id": "s"})).status_code == 200


async def test_connections_that_ask_nothing_are_bounded_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(http, "MAX_REFUSED", 1)
    async with World() as world, Site(world).served() as (server, _):
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(4)]
        reader, _ = held[-1]
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert not any(reader.at_eof() for reader, _ in held[:-1])
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize("path", ["/events", "/status"])
async def test_an_answer_that_nobody_reads_ends_its_connection(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "SEND_SECONDS", 0.05)
    # The silent one has the only place that there is.
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 2)
    async with World() as world, Site(world).served() as (server, client):
        # More than the sockets hold, so that the server has to wait for the reader.
        reports = (world.report(f"s{n}", Status.HELP, message="x" * 4096) for n in range(2000))
        await asyncio.gather(*reports)
        with socket.create_connection(("127.0.0.1", server.port)) as silent:
            silent.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            async with asyncio.timeout(PATIENCE):
                while (await client.get("/healthz")).status_code != 200:
                    pass
