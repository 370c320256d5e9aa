"""Servers that hang, crash, refuse or talk nonsense."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.errors import ConnectionClosedError

from tests.harness.bus import Heard, acquainted, opened
from tests.harness.nats import Nats, NatsCluster
from tests.integration.nats.kit import first_reason, found, watched

# More than the sockets of both sides and the client hold.
_FLOOD = [b"x" * 100_000] * 500
# A ping each second, an answer to it within three, and some time for a busy machine.
_NOTICED = 8.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Nats]]:
    """Two servers that know nothing of each other."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    with Nats(folders[0]) as first, Nats(folders[1]) as second:
        yield [first, second]


def _address(servers: list[Nats]) -> str:
    return f"nats://{','.join(server.address.removeprefix('nats://') for server in servers)}"


async def test_a_server_that_hangs_is_left_for_another_one(pair: list[Nats]) -> None:
    """Neither a publisher nor the way to the other server waits for it to take what was sent."""
    async with watched(_address(pair)) as (bus, logs):
        await bus.ready()
        pair[0].pause()
        longest = 0.0
        for payload in _FLOOD:
            began = time.perf_counter()
            bus.publish("s", payload)
            longest = max(longest, time.perf_counter() - began)
            await asyncio.sleep(0)
        assert bus.counts.dropped > 0
        assert longest < 1.0
        assert "no answer to a ping" in await first_reason(logs)
        async with asyncio.timeout(_NOTICED), opened(pair[1].address) as other:
            await bus.ready()
            heard = Heard(other, "s")
            await acquainted(bus, heard, subject="s")
        pair[0].resume()


async def test_a_bus_closes_while_its_server_hangs(tmp_path: Path) -> None:
    with Nats(tmp_path) as nats:
        async with opened(nats.address) as bus:
            nats.pause()
            for payload in _FLOOD:
                bus.publish("s", payload)
                await asyncio.sleep(0)
            async with asyncio.timeout(_NOTICED):
                await bus.close()
            with pytest.raises(ConnectionClosedError):
                await bus.ready()
        nats.resume()


async def test_what_was_accepted_is_sent_before_the_end(tmp_path: Path) -> None:
    with Nats(tmp_path) as nats:
        async with opened(nats.address) as first, opened(nats.address) as second:
            heard = Heard(second, "s")
            await acquainted(first, heard, subject="s")
            sent = [b"%d" % number for number in range(2000)]
            for message in sent:
                first.publish("s", message)
            await first.close()
            assert await heard.until(sent[-1]) == sent


async def test_a_server_that_refuses_for_now_is_tried_again(tmp_path: Path) -> None:
    with Nats(tmp_path, settings=["max_connections: 1"]) as nats:
        async with opened(nats.address) as first, watched(nats.address) as (second, logs):
            await first_reason(logs)
            await first.close()
            async with asyncio.timeout(20):
                await second.ready()


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"INFO nonsense\r\n",
        b"INFO []\r\n",
        b"INFO " + b"x" * 100_000,
        b'INFO {"max_payload":1000}\r\n\xff\xfe\r\n',
        b'INFO {"max_payload":1000}\r\nPONG\r\nMSG s 1 -1\r\n',
    ],
)
async def test_what_is_no_nats_server_is_left_for_one_that_is(words: bytes, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await writer.drain()
        await reader.read(1)
        writer.close()

    with Nats(tmp_path) as nats:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            address = nats.address.replace("nats://", f"nats://127.0.0.1:{port},")
            async with watched(address) as (bus, logs), opened(nats.address) as other:
                await first_reason(logs)
                heard = Heard(other, "s")
                await acquainted(bus, heard, subject="s")


async def test_jetstream_is_on_the_same_connection(tmp_path: Path) -> None:
    """Streams send what their own connection put in, though the bus does not hear itself."""
    with Nats(tmp_path) as nats:
        async with opened(nats.address) as bus:
            client = await bus.ready()
            stream = client.jetstream()
            await stream.add_stream(name="log", subjects=["log"])
            assert (await stream.publish("log", b"first")).seq == 1
            nats.kill()
            nats.start()
            stream = (
                await found(lambda: bus.client if bus.client is not client else None)
            ).jetstream()
            assert (await stream.publish("log", b"second")).seq == 2
            follower = await stream.subscribe("log", ordered_consumer=True)
            messages = [(await follower.next_msg(5)).data for _ in range(2)]
            assert messages == [b"first", b"second"]


async def test_a_cluster_that_loses_a_server(tmp_path: Path) -> None:
    """Ends at different servers hear each other, and one moves when its server is gone."""
    with NatsCluster(tmp_path) as cluster:
        async with opened(cluster.address) as moving:
            url = (await moving.ready()).connected_url
            assert url is not None
            lost = next(server for server in cluster.servers if server.port == url.port)
            stays, other = (server for server in cluster.servers if server is not lost)
            async with opened(stays.address) as first, opened(other.address) as second:
                heard = [Heard(moving, "s"), Heard(second, "s")]
                await acquainted(first, *heard, subject="s")
                lost.kill()
                await found(lambda: moving.counts.connections == 2)
                await acquainted(first, *heard, subject="s")
