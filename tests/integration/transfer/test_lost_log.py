"""A witness log that NATS lost is put back from a replica's copy, or not at all."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from infrafabric_server.store.etcd import Access, EtcdStore
from infrafabric_server.store.etcd.copying import Fabric
from infrafabric_server.store.protocol import Put, StoreRefused
from infrafabric_server.transfer.cluster import Cluster
from infrafabric_server.transfer.dumpfile import ChainBrokenError
from infrafabric_server.transfer.lost_log import put_back
from infrafabric_server.transfer.transfer import dump, migrate
from infrafabric_server.witness.batches import pack
from infrafabric_server.witness.chain import seal
from infrafabric_server.witness.models import Draft, Entry, Sealed
from infrafabric_server.witness.waiting import put_sealed
from tests.harness.etcd import Etcd
from tests.integration.transfer.kit import NOW, ListedStream, contents, made


class Site:
    """A fabric on etcd, its stream, and the folder with a copy of its log."""

    def __init__(self, etcd: Etcd, copy: Path, entries: list[Entry]) -> None:
        self.address = etcd.address()
        self.copy = copy
        self.entries = entries
        self.log = ListedStream()

    def place(self) -> Cluster:
        return Cluster(Fabric(self.address, Access()), self.log)

    async def put(self, *changes: Put) -> None:
        store = await EtcdStore.open(self.address)
        await store.txn([], list(changes))
        await store.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A fabric whose log is lost; all of it was sealed, and the copy has all of it."""
    first = await made(tmp_path / "copy")
    _, entries = await contents(first)
    with Etcd(tmp_path) as etcd:
        site = Site(etcd, tmp_path / "copy", entries)
        async with first, site.place() as target:
            await migrate(first, tmp_path / "dump", target, NOW)
        await site.put(put_sealed(Sealed(sequence=entries[-1].sequence, hash=entries[-1].hash)))
        site.log.payloads.clear()
        yield site


async def test_the_log_is_whole_again(site: Site, tmp_path: Path) -> None:
    async with site.place() as place:
        with pytest.raises(ChainBrokenError, match=r"entry 2 .+ was sealed: bring back the log"):
            await dump(await place.source(), tmp_path / "short", NOW)
        assert not (tmp_path / "short").exists()
        ending = await put_back(site.copy, place)
        assert await put_back(site.copy, place) == ending == await place.sealed()
        assert [entry async for entry in (await place.source()).entries()] == site.entries
        assert (await dump(await place.source(), tmp_path / "whole", NOW)).entries == 2


async def test_what_the_stream_still_has_stays(site: Site) -> None:
    site.log.payloads.append(pack(site.entries[:1]))
    async with site.place() as place:
        await put_back(site.copy, place)
    assert site.log.payloads == [pack(site.entries[:1]), pack(site.entries[1:])]


async def test_a_copy_that_is_too_short_is_not_taken(site: Site) -> None:
    await site.put(put_sealed(Sealed(sequence=3, hash="f" * 64)))
    async with site.place() as place:
        with pytest.raises(ChainBrokenError, match="goes up to entry 2, and entry 3"):
            await put_back(site.copy, place)
    assert not site.log.payloads


async def test_a_copy_that_was_changed_is_not_taken(site: Site) -> None:
    with closing(sqlite3.connect(site.copy / "witness.db")) as log:
        log.execute("DROP TRIGGER entries_stay")
        log.execute("UPDATE entries SET body = replace(body, 'kit', 'cat') WHERE sequence = 1")
        log.commit()
    async with site.place() as place:
        with pytest.raises(ChainBrokenError, match="entry 1"):
            await put_back(site.copy, place)
    assert not site.log.payloads


async def test_a_stream_that_goes_further_lacks_nothing(site: Site) -> None:
    last = site.entries[-1]
    draft = Draft(time=NOW, component="kit", operation="later")
    site.log.payloads.append(pack([*site.entries, seal(draft, "later", 99, 3, last.hash)]))
    async with site.place() as place:
        with pytest.raises(StoreRefused, match="goes up to entry 3, beyond the copy"):
            await put_back(site.copy, place)


async def test_servers_are_stopped_first(site: Site) -> None:
    store = await EtcdStore.open(site.address)
    try:
        lease = await store.grant(60)
        await store.txn([], [Put("leader/fabric", "{}", lease)])
        async with site.place() as place:
            with pytest.raises(StoreRefused, match="a server runs on"):
                await put_back(site.copy, place)
    finally:
        await store.close()
