"""The stream on three NATS servers, of which the one that leads it is killed."""

import asyncio
from pathlib import Path

from infrafabric_server.bus.nats import NatsBus
from infrafabric_server.store.protocol import StoreUnavailable
from infrafabric_server.witness.jetstream import JetStream
from infrafabric_server.witness.stream import Message, Superseded
from tests.harness.nats import NatsCluster


async def appended(stream: JetStream, number: int) -> None:
    """Append a message at the place `number` as a sealer does: what is unknown is looked up."""
    before = None if number == 1 else Message(number - 1, b"%d" % (number - 1))
    while True:
        try:
            last = await stream.last()
            if last == Message(number, b"%d" % number):
                return
            assert last == before
            await stream.append(b"%d" % number, number - 1)
        except (StoreUnavailable, Superseded):
            await asyncio.sleep(0.05)
        else:
            return


async def test_w1_the_leader_of_the_stream_can_be_killed(tmp_path: Path) -> None:
    with NatsCluster(tmp_path) as cluster:
        bus = await NatsBus.open(cluster.address)
        stream = JetStream(lambda: bus.client, "fabric", replicas=3)
        await bus.ready()
        await stream.create()
        for number in range(1, 61):
            if number == 20:
                assert bus.client is not None
                info = await bus.client.jetstream().stream_info("fabric-witness")
                assert info.cluster is not None
                assert info.cluster.leader is not None
                cluster.servers[int(info.cluster.leader.removeprefix("nats"))].kill()
            await appended(stream, number)
        for position in range(1, 61):
            assert await stream.get(position) == Message(position, b"%d" % position)
        await bus.close()
