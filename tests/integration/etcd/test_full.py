"""An etcd at its quota takes no writes, and reads go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest
from pydantic import BaseModel

from infrafabric_server.store.etcd import EtcdAddress, EtcdOptions, EtcdStore
from infrafabric_server.store.mirror import Mirror, View
from infrafabric_server.store.protocol import Member, Put, StoreFull, absent, present
from tests.harness.etcd import Etcd
from tests.integration.etcd.kit import HASTY, opened

_QUOTA = 16 * 1024 * 1024
# Bytes that are set at a time until it is reached.
_PIECE = 100_000
# Seconds that a read may take: a mark is tried after a tenth.
_SOON = 5.0


class Item(BaseModel):
    text: str


class Replica:
    """What a server has of a fabric: a store of its own, and views that it keeps up."""

    def __init__(self, store: EtcdStore) -> None:
        self.store = store
        self.mirror = Mirror(store, shared=True)
        self._items: View[Item] = self.mirror.view("items/", Item)

    async def put(self, id_: str, text: str) -> None:
        await self.store.txn([], [Put(f"items/{id_}", Item(text=text).model_dump_json())])

    async def read(self) -> dict[str, str]:
        """Return all items as they are now, whoever changed them."""
        async with asyncio.timeout(_SOON):
            await self.mirror.catch_up()
        return {entry.id: entry.value.text for entry in self._items.page("", 100)}


@asynccontextmanager
async def replica(address: EtcdAddress) -> AsyncIterator[Replica]:
    async with opened(address, options=HASTY) as store, asyncio.TaskGroup() as group:
        it = Replica(store)
        await it.mirror.start()
        group.create_task(it.mirror.run())
        yield it
        await it.mirror.close()


async def _filled(etcd: Etcd, it: Replica) -> dict[str, str]:
    """Fill etcd until nothing is taken any more; return what was acknowledged meanwhile."""
    taken: dict[str, str] = {}
    etcd.fill("filler/", _QUOTA)
    with suppress(StoreFull):
        for number in range(_QUOTA // _PIECE):
            text = f"{number}{' ' * _PIECE}"
            await it.put("b", text)
            taken["b"] = text
        raise AssertionError("etcd takes more than its quota")
    return taken


async def test_reads_go_on_at_the_quota_whoever_made_the_newest_revision(tmp_path: Path) -> None:
    """Two replicas of a fabric, and a neighbour on the cluster whose changes they do not see."""
    with Etcd(tmp_path, arguments=[f"--quota-backend-bytes={_QUOTA}"]) as etcd:
        async with (
            replica(etcd.address()) as one,
            replica(etcd.address()) as two,
            opened(etcd.address("neighbour")) as neighbour,
        ):
            await neighbour.txn([], [Put(f"gone{n}", "") for n in range(4)])
            leases = [await neighbour.grant(60) for _ in range(2)]
            for lease in leases:
                await neighbour.txn([], [Put(f"leased{lease}", "", lease)])
            await one.put("a", "1")
            assert await two.read() == {"a": "1"}
            truth = {"a": "1"} | await _filled(etcd, one)
            assert await two.read() == await one.read() == truth
            for lease in leases:
                # Only what frees space goes on: the neighbour's revision is the newest one now.
                await neighbour.revoke(lease)
                newest = await one.store.revision()
                async with asyncio.timeout(_SOON):
                    assert await two.store.reachable(newest) < newest
                assert await two.read() == await one.read() == truth
                reads = (each.read() for each in (one, two) for _ in range(20))
                assert await asyncio.gather(*reads) == [truth] * 40
            for each in (one, two):
                with pytest.raises(StoreFull, match="quota"):
                    await each.put("c", "refused")
            etcd.make_room()
            await two.put("a", "2")
            assert await one.read() == truth | {"a": "2"}
            await neighbour.txn([], [Put("gone0", "again")])
            newest = await one.store.revision()
            async with asyncio.timeout(_SOON):
                await one.store.reachable(newest)
                await one.mirror.caught_up(newest)


async def test_the_smallest_write_is_refused_too_as_long_as_the_alarm_is_on(tmp_path: Path) -> None:
    """Also one that would fit, alone in its batch, where etcd counts no nested transactions."""
    with Etcd(tmp_path, arguments=[f"--quota-backend-bytes={_QUOTA}"]) as etcd:
        async with opened(etcd.address()) as store:
            await store.txn([], [Put("a", "1")])
            etcd.fill("filler/", _QUOTA)
            writes = (
                store.txn([], [Put("a", "2")]),
                store.txn([absent("b")], [Put("b", "1")]),
                store.fold([present("a")], [Put("a", "2")], [Member([], [Put("c", "1")])]),
            )
            for write in writes:
                with pytest.raises(StoreFull):
                    await write
            assert [kv.value for kv in (await store.range("")).kvs] == ["1"]


async def test_a_view_that_waits_for_a_mark_gets_it_when_there_is_room_again(
    tmp_path: Path,
) -> None:
    """Who was told of a neighbour's revision at the quota does not wait for ever."""
    with Etcd(tmp_path, arguments=[f"--quota-backend-bytes={_QUOTA}"]) as etcd:
        async with replica(etcd.address()) as one, asyncio.TaskGroup() as group:
            await one.put("a", "1")
            await _filled(etcd, one)
            etcd.control("del", "filler/0")
            newest = await one.store.revision()
            waiting = group.create_task(one.mirror.caught_up(newest))
            async with asyncio.timeout(_SOON):
                assert await one.store.reachable(newest) < newest
            assert not waiting.done()
            etcd.make_room()
            async with asyncio.timeout(_SOON):
                await waiting


async def test_the_lane_that_was_used_last_is_never_swept(etcd: Etcd) -> None:
    """It tells up to where the changes of the fabric go."""
    address = etcd.address()
    async with opened(address) as first, opened(address, options=EtcdOptions(history=0.5)) as last:
        await first.txn([], [Put("a", "1")])
        result = await last.txn([], [Put("a", "2")])
        async with asyncio.timeout(_SOON), aclosing(last.watch("", result.revision + 1)) as watch:
            # The other lane goes; the time for which this one was idle passes, too.
            swept = await anext(watch)
            with suppress(TimeoutError):
                async with asyncio.timeout(1.5):
                    raise AssertionError(f"{await anext(watch)} after {swept}")
        assert len(etcd.control("get", "--prefix", "--keys-only", "fabric/own/lanes/").split()) == 1
        # It goes on without its lane.
        assert (await first.txn([present("a")], [Put("a", "3")])).succeeded
