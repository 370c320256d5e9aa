"""Escalations go on at another replica when the leader is killed, and webhooks with them."""

import asyncio
from pathlib import Path

from infrafabric import Client
from infrafabric.v1.escalation_pb2 import ESCALATION_STATE_CLOSED
from tests.harness.cluster import Backing, Cluster
from tests.harness.webhook import TAKEN, raw, receiving


async def test_g7_when_the_leader_is_killed_escalations_and_webhooks_go_on(
    tmp_path: Path, backing: Backing
) -> None:
    async with receiving(raw(TAKEN)) as receiver:
        environment = {
            "INFRAFABRIC_ESCALATE_SECONDS": "0.2",
            "INFRAFABRIC_WEBHOOK": f"pager={receiver.url}",
            "INFRAFABRIC_WEBHOOK_SECRET_PAGER": "k",
        }
        async with (
            Cluster(
                tmp_path, replicas=2, backing=backing, prefix=tmp_path.name, environment=environment
            ) as cluster,
            Client(cluster.grpc) as client,
            asyncio.timeout(40),
        ):
            await client.swarms.register("s", [])
            await client.claims.report_blocker("s", "no key")
            await receiver.told("escalation_opened")
            leaders = [
                each for each in cluster.replicas if '"event": "escalation_opened"' in each.log
            ]
            assert len(leaders) == 1, "the leader alone writes"
            await leaders[0].kill()
            taken = await client.escalations.acknowledge("blocker:s/-", "mary")
            assert (taken.level, taken.acknowledged_by) == (1, "mary")
            await client.claims.resolve_blocker("s")
            await receiver.told("escalation_acknowledged")
            await receiver.told("escalation_closed")
            (left,) = [each async for each in client.escalations.list()]
            assert (left.state, left.acknowledged_by) == (ESCALATION_STATE_CLOSED, "mary")
    ids = [headers["infrafabric-delivery"] for headers, _ in receiver.requests]
    told = dict(zip(ids, receiver.events, strict=True))
    assert list(told.values()) == [
        "escalation_opened",
        "escalation_acknowledged",
        "escalation_closed",
    ]
