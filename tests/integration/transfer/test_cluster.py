"""A fabric goes from a data directory to a real etcd and back."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrafabric_server.store.data_format import OtherFormat
from infrafabric_server.store.etcd import Access, EtcdStore
from infrafabric_server.store.etcd.copying import Fabric
from infrafabric_server.store.protocol import Delete, Put, StoreFull, StoreRefused
from infrafabric_server.store.sqlite import SqliteStore
from infrafabric_server.transfer.cluster import Cluster
from infrafabric_server.transfer.dumpreader import Dump
from infrafabric_server.transfer.folder import Folder
from infrafabric_server.transfer.lost_log import put_back
from infrafabric_server.transfer.transfer import dump, migrate, restore
from infrafabric_server.witness.batches import pack
from infrafabric_server.witness.chain import seal
from infrafabric_server.witness.models import Draft
from infrafabric_server.witness.sqlite_log import SqliteWitnessLog
from tests.harness.etcd import Etcd
from tests.integration.transfer.kit import NOW, ListedStream, contents, made, order

DRAFT = Draft(time=NOW, component="kit", operation="later")

_prefixes = count()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


class FullStream(ListedStream):
    async def append(self, _payload: bytes, _after: int) -> int:
        raise StoreFull("no room")


class Site:
    """One prefix of the cluster, with a log."""

    def __init__(self, etcd: Etcd) -> None:
        self.address = etcd.address(f"fabric-{next(_prefixes)}")
        self.log = ListedStream()

    def place(self) -> Cluster:
        return Cluster(Fabric(self.address, Access()), self.log)

    async def store(self) -> EtcdStore:
        return await EtcdStore.open(self.address)


@pytest.fixture
def site(etcd: Etcd) -> Site:
    return Site(etcd)


async def test_there_and_back_nothing_is_lost(tmp_path: Path, site: Site) -> None:
    first = await made(tmp_path / "first")
    before = await contents(first)
    async with first, site.place() as target:
        written = await migrate(first, tmp_path / "there", target, NOW)
    there = await contents(site.place())
    async with site.place() as source, Folder(tmp_path / "last") as target:
        assert await migrate(source, tmp_path / "back", target, NOW) == replace(written, leased=0)
    back = await contents(Folder(tmp_path / "last"))
    assert order(before[0]) == order(there[0]) == order(back[0])
    # What came from etcd has the revisions that it had there.
    assert back == there
    assert before[1] == there[1]
    texts = {kv.key: kv.value for kv in before[0] if not kv.key.startswith("statuses/")}
    assert texts.items() <= {kv.key: kv.value for kv in back[0]}.items()


async def test_a_status_counts_the_same_completions_afterwards(tmp_path: Path, site: Site) -> None:
    first = await made(tmp_path / "first")
    async with first, site.place() as target:
        await migrate(first, tmp_path / "dump", target, NOW)
    kvs, _ = await contents(site.place())
    by_key = {kv.key: kv for kv in kvs}
    ant, status = by_key["tasks/ant"], by_key["statuses/worker"].value
    assert f'"counted":{{"ant":{ant.mod_revision}}}' in status
    # The revision before that completion is the one at which the board was made.
    assert f'"counted_revision":{ant.create_revision}' in status


async def test_a_store_on_etcd_counts_on_from_the_dump(tmp_path: Path, site: Site) -> None:
    """C12 and C6: what is later has a greater revision, over the restore."""
    first = await made(tmp_path / "first")
    async with first, site.place() as target:
        await migrate(first, tmp_path / "dump", target, NOW)
    last = Dump(tmp_path / "dump").header.revision
    store = await site.store()
    try:
        found = (await store.range("")).kvs
        assert min(kv.create_revision for kv in found) > last
        later = await store.txn([], [Put("tasks/later", "{}")])
        assert later.revision > max(kv.mod_revision for kv in found)
    finally:
        await store.close()


async def test_a_fabric_in_use_is_not_moved(tmp_path: Path, site: Site) -> None:
    store = await site.store()
    try:
        lease = await store.grant(60)
        await store.txn([], [Put("leader/fabric", "{}", lease)])
        async with site.place() as source, Folder(tmp_path / "new") as target:
            with pytest.raises(StoreRefused, match=r"a server runs on .+ \(leader/fabric is held"):
                await migrate(source, tmp_path / "dump", target, NOW)
            # It can be dumped all the same.
            written = await dump(await source.source(), tmp_path / "dump", NOW)
        assert (written.keys, written.leased) == (0, 1)
    finally:
        await store.close()


async def test_a_data_directory_in_use_is_not_moved(tmp_path: Path, site: Site) -> None:
    store = await SqliteStore.open(tmp_path / "old")
    try:
        async with Folder(tmp_path / "old") as source, site.place() as target:
            with pytest.raises(StoreRefused, match="in use by another process"):
                await migrate(source, tmp_path / "dump", target, NOW)
    finally:
        await store.close()


async def test_a_prefix_with_something_in_it_is_refused(tmp_path: Path, site: Site) -> None:
    first = await made(tmp_path / "first")
    async with first:
        await dump(await first.source(), tmp_path / "dump", NOW)
    async with site.place() as target:
        await restore(tmp_path / "dump", target)
        with pytest.raises(StoreRefused, match="holds something already"):
            await restore(tmp_path / "dump", target)


async def test_a_restore_that_was_cut_off_lets_no_server_in_and_is_repeated(
    tmp_path: Path, site: Site
) -> None:
    first = await made(tmp_path / "first")
    file = tmp_path / "dump"
    async with first:
        await dump(await first.source(), file, NOW)
    log, site.log = site.log, FullStream()
    async with site.place() as target:
        with pytest.raises(StoreFull):
            await restore(file, target)
    with pytest.raises(StoreRefused, match="cut off"):
        await site.store()
    site.log = log
    async with site.place() as target:
        await restore(file, target)
    assert order((await contents(site.place()))[0]) == order((await contents(first))[0])


async def test_a_witness_log_that_outlived_its_store_stays(tmp_path: Path, site: Site) -> None:
    first = await made(tmp_path / "first")
    async with first, site.place() as target:
        await migrate(first, tmp_path / "dump", target, NOW)
    _, sealed = await contents(site.place())
    later = seal(DRAFT, "later", sealed[-1].revision + 5_000, len(sealed) + 1, sealed[-1].hash)
    await site.log.append(pack([later]), len(site.log.payloads))
    site.address = replace(site.address, prefix=f"{site.address.prefix}-again")
    async with site.place() as target:
        await restore(tmp_path / "dump", target)
        source = await target.source()
        assert source.revision > later.revision
        assert min([kv.create_revision async for kv in source.kvs()]) > later.revision
        assert [entry async for entry in source.entries()] == [*sealed, later]


async def test_a_witness_log_that_was_restored_in_part_is_continued(
    tmp_path: Path, site: Site
) -> None:
    first = await made(tmp_path / "first")
    async with first:
        await dump(await first.source(), tmp_path / "dump", NOW)
    entries = list(Dump(tmp_path / "dump").entries())
    await site.log.append(pack(entries[:1]), 0)
    async with site.place() as target:
        await restore(tmp_path / "dump", target)
    assert (await contents(site.place()))[1] == entries


async def test_another_witness_log_is_not_mixed_in(tmp_path: Path, site: Site) -> None:
    first, other = await made(tmp_path / "first"), await made(tmp_path / "other")
    async with first, site.place() as target:
        await migrate(first, tmp_path / "dump", target, NOW)
    site.address = replace(site.address, prefix=f"{site.address.prefix}-other")
    async with other, site.place() as target:
        with pytest.raises(StoreRefused, match="entry 1 is not that of the dump"):
            await migrate(other, tmp_path / "dump", target, NOW)
        await target.check_empty()


async def test_a_fabric_of_a_newer_format_is_neither_read_nor_written(
    tmp_path: Path, etcd: Etcd, site: Site
) -> None:
    store = await site.store()
    await store.close()
    newer = '{"format": 1, "data_format": 3, "revision": 0}'
    etcd.put(f"{site.address.prefix}/own/origin", newer)
    other = await made(tmp_path / "other")
    async with site.place() as place:
        with pytest.raises(OtherFormat, match="records of format 3"):
            await dump(await place.source(), tmp_path / "dump", NOW)
        with pytest.raises(OtherFormat, match="records of format 3"):
            await put_back(tmp_path / "other", place)
        async with other:
            with pytest.raises(StoreRefused, match="holds something already"):
                await migrate(other, tmp_path / "dump", place, NOW)
    assert site.log.payloads == []


_change = st.tuples(
    st.sampled_from(["tasks/a", "tasks/b", "tasks/ab", "x/ü", "y"]),
    st.one_of(
        st.none(),
        st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    ),
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(_change, min_size=1, max_size=3, unique_by=lambda c: c[0]), max_size=12))
def test_any_history_keeps_its_order(
    etcd: Etcd, history: list[list[tuple[str, str | None]]]
) -> None:
    asyncio.run(_there_and_back(etcd, history))


async def _there_and_back(etcd: Etcd, history: list[list[tuple[str, str | None]]]) -> None:
    site = Site(etcd)
    with TemporaryDirectory() as name:
        path = Path(name)
        store = await SqliteStore.open(path / "first")
        for changes in history:
            ops = [Delete(key) if text is None else Put(key, text) for key, text in changes]
            await store.txn([], ops)
        await store.close()
        await (await SqliteWitnessLog.open(path / "first")).close()
        async with Folder(path / "first") as first, site.place() as target:
            await migrate(first, path / "there", target, NOW)
        async with site.place() as source, Folder(path / "last") as last:
            await migrate(source, path / "back", last, NOW)
        before, after = (
            await contents(Folder(path / "first")),
            await contents(Folder(path / "last")),
        )
    assert order(before[0]) == order(after[0])
    assert [(kv.key, kv.value) for kv in before[0]] == [(kv.key, kv.value) for kv in after[0]]
