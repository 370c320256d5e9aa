"""X3, C10: what an attempt kept at one server is there for the next at another, until the end."""

import asyncio
from pathlib import Path

from infrafabric import Client
from infrafabric.values import from_struct
from infrafabric_server.store.etcd import EtcdStore
from tests.harness.cluster import Backing, Cluster
from tests.integration.guests import workers
from tests.integration.test_chassis import reaches
from tests.integration.test_scratch import begin, completed, kept

_SHORT = {"INFRAFABRIC_LEASE_SECONDS": "1"}


async def test_x3_c10_another_server_goes_on_where_a_killed_one_was(
    tmp_path: Path, backing: Backing
) -> None:
    name = tmp_path.name
    cluster = Cluster(tmp_path, replicas=2, backing=backing, prefix=name, environment=_SHORT)
    store = await EtcdStore.open(backing.etcd.address(name))
    async with cluster:
        async with Client(cluster.grpc) as client:
            await begin(client, "moves", "l", "kv", "progress")
            await reaches(client, "moves", kept)
            assert [kv.value for kv in (await store.range("scratch/")).kvs] == ['"1"']
            (ran,) = [each for each in cluster.replicas if workers(each.pid)]
            await ran.kill()
            done = await reaches(client, "moves", completed)
            assert (done.attempt, from_struct(done.result)) == (2, {"attempts": "2"})
        # Who comes to lead looks for what has ended.
        await cluster.stop()
        await ran.start()
        async with asyncio.timeout(20):
            while (await store.range("scratch")).kvs:
                pass
    await store.close()
