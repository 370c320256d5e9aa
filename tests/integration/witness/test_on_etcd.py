"""The shared log of replicas that decide on a real etcd and elect their leader there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path

import pytest

from infrafabric_server.clock import SystemClock
from infrafabric_server.fleet.leadership import ElectedLeader
from infrafabric_server.store.etcd import EtcdStore
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.witness.models import Entry
from tests.harness.etcd import Etcd
from tests.harness.nats import Nats
from tests.integration.witness.kit import Replica, replica

LEASE = 1.0


@asynccontextmanager
async def standing(etcd: Etcd, nats: Nats, directory: Path) -> AsyncIterator[Replica]:
    """Run a replica that stands for election."""
    store = await EtcdStore.open(etcd.address())
    mirror = Mirror(store, shared=True)
    leader = ElectedLeader(store, mirror, SystemClock(), directory.name, lease_seconds=LEASE)
    await mirror.start()
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(work()) for work in (mirror.run, leader.run)]
            async with replica(nats, store, directory, leader) as it:
                yield it
            for task in running:
                task.cancel()
    finally:
        await mirror.close()
        await store.close()


def check_order(entries: list[Entry]) -> None:
    """Assert that entries are in the order of revisions, and of keys where they share one."""
    places = [(entry.revision, entry.entry_id) for entry in entries]
    assert places == sorted(places)
    made = sorted(entries, key=lambda entry: entry.entry_id.split("-")[1])
    for _, group in groupby(made, key=lambda entry: entry.entry_id.split("-")[1]):
        found = [entry.operation for entry in group]
        pairs = list(zip(found[::2], found[1::2], strict=True))
        assert all(second == f"{first} too" for first, second in pairs)


@pytest.mark.parametrize("restart", [False, True])
async def test_w1_one_log_of_what_three_replicas_decide_at_once(
    tmp_path: Path, *, restart: bool
) -> None:
    """Many transactions share a revision; the leader goes in the middle, or all of NATS does."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    with Etcd(tmp_path) as etcd, Nats(tmp_path) as nats:
        async with (
            standing(etcd, nats, tmp_path / "b") as b,
            standing(etcd, nats, tmp_path / "c") as c,
        ):
            async with standing(etcd, nats, tmp_path / "a") as a:
                await asyncio.gather(*(_decide(it, 100) for it in (a, b, c)))
                if restart:
                    nats.kill()
                    await _decide(b, 1)
                    nats.start()
            await asyncio.gather(*(_decide(it, 100) for it in (b, c)))
            logs = [await b.log(), await c.log()]
            assert logs[0] == logs[1]
            assert len(logs[0]) == 2 * (500 + restart)
            assert len({entry.revision for entry in logs[0]}) < len(logs[0]) / 2
            check_order(logs[0])


async def _decide(it: Replica, count: int) -> None:
    await asyncio.gather(*(it.decide(f"d{n}", f"d{n} too") for n in range(count)))
