"""The proxy of the harness does to a connection what tests of faults rely on."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.harness.proxy import Proxy

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(4096):
            writer.write(chunk)
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with Proxy(f"{host}:{port}") as it:
        yield it
    server.close()
    await server.wait_closed()


async def _connect(proxy: Proxy) -> Pair:
    host, _, port = proxy.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _echoes(pair: Pair, text: bytes) -> bool:
    reader, writer = pair
    writer.write(text)
    return await reader.readexactly(len(text)) == text


async def test_passes_bytes_and_counts_connections(proxy: Proxy) -> None:
    pair = await _connect(proxy)
    assert await _echoes(pair, b"hello")
    assert (proxy.accepted, proxy.connections) == (1, 1)
    pair[1].close()


async def test_cut_resets_open_connections_and_lets_new_ones_through(proxy: Proxy) -> None:
    reader, writer = pair = await _connect(proxy)
    assert await _echoes(pair, b"before")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    again = await _connect(proxy)
    assert await _echoes(again, b"after")
    again[1].close()


async def test_stall_holds_bytes_back_in_order_until_flow(proxy: Proxy) -> None:
    reader, writer = pair = await _connect(proxy)
    assert await _echoes(pair, b"before")
    proxy.stall()
    writer.write(b"one")
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.05)
    proxy.flow()
    assert await reader.readexactly(6) == b"onetwo"
    writer.close()


async def test_refusing_resets_new_connections_only(proxy: Proxy) -> None:
    old = await _connect(proxy)
    assert await _echoes(old, b"before")
    proxy.refusing = True
    reader, writer = await _connect(proxy)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert await _echoes(old, b"still")
    for each in (writer, old[1]):
        each.close()


async def test_cut_after_lets_that_many_bytes_of_the_server_pass(proxy: Proxy) -> None:
    reader, writer = pair = await _connect(proxy)
    proxy.cut_after = 6
    assert await _echoes(pair, b"sixsix")
    writer.write(b"x")
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    writer.close()
