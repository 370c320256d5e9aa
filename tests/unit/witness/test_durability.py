"""What a NATS server says of its disk is asked of that server, and of nobody else."""

import asyncio
import json

import pytest

from infrafabric_server.witness.durability import durability

FACTS = {
    "version": "2.15.1",
    "max_payload": 1 << 20,
    "jetstream": {"config": {"sync_always": True, "sync_interval": 120_000_000_000}},
}


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://127.0.0.1:9"])
async def test_a_proxy_of_the_environment_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(FACTS).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    for name in ("ALL_PROXY", "HTTP_PROXY", "all_proxy", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        told = await durability(f"http://{host}:{port}/")
    assert (told.version, told.jetstream, told.always, told.interval) == ("2.15.1", True, True, 120)
