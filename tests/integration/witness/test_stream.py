"""The stream itself: what it takes, what it keeps, and what it refuses."""

import asyncio
from pathlib import Path

import pytest
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import APIError

from infrafabric_server.bus.nats import NatsBus
from infrafabric_server.store.protocol import StoreUnavailable
from infrafabric_server.witness.durability import durability
from infrafabric_server.witness.jetstream import JetStream
from infrafabric_server.witness.stream import Message, Superseded
from tests.harness.bus import opened
from tests.harness.nats import Nats
from tests.harness.proxy import Proxy
from tests.integration.witness.kit import stream_on


async def test_messages_are_kept_in_order_and_only_right_behind_the_last(nats: Nats) -> None:
    async with stream_on(nats) as stream:
        assert await stream.last() is None
        await stream.create()
        assert await stream.last() is None
        assert await stream.append(b"one", 0) == 1
        await stream.create()
        assert await stream.append(b"two", 1) == 2
        for after in (0, 1, 3):
            with pytest.raises(Superseded):
                await stream.append(b"three", after)
        assert await stream.last() == Message(2, b"two")
        assert await stream.get(1) == Message(1, b"one")
        assert await stream.get(3) is None


async def test_w1_nothing_in_the_stream_can_be_removed(nats: Nats) -> None:
    async with opened(nats.address) as bus:
        assert bus.client is not None
        stream = JetStream(lambda: bus.client, "fabric")
        await stream.create()
        await stream.append(b"one", 0)
        api = bus.client.jetstream()
        with pytest.raises(APIError):
            await api.purge_stream("fabric-witness")
        with pytest.raises(APIError):
            await api.delete_msg("fabric-witness", 1)
        config = (await api.stream_info("fabric-witness")).config
        with pytest.raises(APIError):
            await api.update_stream(config.evolve(deny_delete=False, deny_purge=False))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (StreamConfig(max_age=3600), "max_age"),
        (StreamConfig(storage=StorageType.MEMORY), "storage"),
        (StreamConfig(max_msgs_per_subject=10), "max_msgs_per_subject"),
    ],
)
async def test_w1_a_stream_that_may_lose_entries_is_refused(
    nats: Nats, config: StreamConfig, named: str
) -> None:
    async with opened(nats.address) as bus:
        assert bus.client is not None
        theirs = config.evolve(name="fabric-witness", subjects=["fabric.witness"])
        await bus.client.jetstream().add_stream(theirs)
        stream = JetStream(lambda: bus.client, "fabric")
        with pytest.raises(StoreUnavailable, match=f"not safe for the witness log.*{named}"):
            await stream.last()
        with pytest.raises(StoreUnavailable, match=named):
            await stream.create()


async def test_w1_an_append_whose_answer_is_lost_is_there(nats: Nats) -> None:
    """The connection is cut between the append and its answer."""
    async with Proxy(nats.address.removeprefix("nats://")) as proxy:
        bus = await NatsBus.open(f"nats://{proxy.address}")
        stream = JetStream(lambda: bus.client, "fabric")
        await bus.ready()
        await stream.create()
        proxy.cut_after = 0
        with pytest.raises(StoreUnavailable):
            await stream.append(b"one", 0)
        async with asyncio.timeout(10):
            await bus.ready()
        assert await stream.last() == Message(1, b"one")
        await bus.close()


async def test_w1_what_was_acknowledged_outlives_a_kill(nats: Nats) -> None:
    async with opened(nats.address) as bus:
        stream = JetStream(lambda: bus.client, "fabric")
        await stream.create()
        for round_ in range(3):
            for position in range(round_ * 20, round_ * 20 + 20):
                await stream.append(b"%d" % position, position)
            nats.kill()
            with pytest.raises(StoreUnavailable):
                await stream.append(b"nobody takes it", round_ * 20 + 20)
            nats.start()
            await bus.ready()
            last = Message(round_ * 20 + 20, b"%d" % (round_ * 20 + 19))
            assert await stream.last() == last


async def test_a_server_tells_whether_it_syncs_each_message(nats: Nats) -> None:
    told = await durability(nats.monitor)
    assert (told.version, told.jetstream, told.always) == ("2.15.1", True, True)
    assert told.max_payload == 1024 * 1024
    with pytest.raises(StoreUnavailable, match="does not tell of a NATS server"):
        await durability(nats.address.replace("nats://", "http://"))


async def test_a_server_that_syncs_now_and_then_says_so(tmp_path: Path) -> None:
    with Nats(tmp_path, durable=False) as nats:
        told = await durability(nats.monitor)
        assert (told.jetstream, told.always, told.interval) == (True, False, 120)
