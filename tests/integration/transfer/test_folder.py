"""Dump and restore of a data directory: every key, its ages and the witness log."""

from pathlib import Path

import pytest

from infrafabric_server.store.protocol import Compacted, Put, StoreRefused
from infrafabric_server.store.sqlite import SqliteStore
from infrafabric_server.transfer.dumpfile import DumpError
from infrafabric_server.transfer.dumpreader import Dump
from infrafabric_server.transfer.folder import Folder
from infrafabric_server.transfer.transfer import dump, restore
from infrafabric_server.witness.chain import verify
from infrafabric_server.witness.sqlite_log import SqliteWitnessLog
from tests.integration.transfer.kit import NOW, contents, made, names, settle

DRAFT = '{"time":"2026-01-01T00:00:00Z","component":"kit","operation":"late"}'


async def test_a_restored_directory_is_the_one_that_was_dumped(tmp_path: Path) -> None:
    source = await made(tmp_path / "old")
    file = tmp_path / "fabric.dump"
    async with source:
        written = await dump(await source.source(), file, NOW)
    assert (written.leased, written.entries) == (1, 2)
    async with Folder(tmp_path / "new") as target:
        assert await restore(file, target) == written
    old, new = await contents(source), await contents(Folder(tmp_path / "new"))
    assert old == new
    assert verify(new[1]).broken is None
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_restored_store_counts_on_and_hides_what_it_does_not_know(tmp_path: Path) -> None:
    source = await made(tmp_path / "old")
    async with source:
        await dump(await source.source(), tmp_path / "dump", NOW)
    async with Folder(tmp_path / "new") as target:
        await restore(tmp_path / "dump", target)
    header = Dump(tmp_path / "dump").header
    store = await SqliteStore.open(tmp_path / "new")
    try:
        assert await store.revision() == header.revision + 1
        with pytest.raises(Compacted):
            await store.range("", revision=header.revision)
        page = await store.range("tasks/", limit=1)
        rest = await store.range("tasks/", after=page.kvs[0].key, revision=page.revision)
        assert [kv.key for kv in rest.kvs] == ["tasks/zebra"]
        watch = store.watch("tasks/", page.revision + 1)
        await store.txn([], [Put("tasks/new", "{}")])
        assert (await anext(watch)).revision == header.revision + 2
        await watch.aclose()
        await store.compact(await store.revision())
        assert await store.revision() == header.revision + 2
    finally:
        await store.close()


async def test_a_running_server_is_dumped_at_one_revision(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "data")
    log = await SqliteWitnessLog.open(tmp_path / "data")
    try:
        await settle(store, log)
        async with Folder(tmp_path / "data") as place:
            source = await place.source()
            at = await store.revision()
            await store.txn([], [Put("tasks/later", "{}")])
            assert source.revision == at
            assert "tasks/later" not in [kv.key async for kv in source.kvs()]
            with pytest.raises(StoreRefused, match="in use by another process"):
                await place.check_unused()
    finally:
        await log.close()
        await store.close()


async def test_what_was_sealed_after_the_dumped_revision_is_left_out(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "data")
    log = await SqliteWitnessLog.open(tmp_path / "data")
    place = Folder(tmp_path / "data")
    try:
        await settle(store, log)
        async with place:
            source = await place.source()
            late = await store.txn([], [Put("outbox/zz", DRAFT)])
            await log.append((await store.range("outbox/")).kvs)
            written = await dump(source, tmp_path / "dump", NOW)
            sealed = [entry.revision async for entry in source.entries()]
    finally:
        await log.close()
        await store.close()
    assert sealed[-1] == late.revision
    assert written.entries == len(sealed) - 1


async def test_nothing_is_restored_over_a_fabric(tmp_path: Path) -> None:
    source = await made(tmp_path / "old")
    async with source:
        await dump(await source.source(), tmp_path / "dump", NOW)
    before = await contents(source)
    async with Folder(tmp_path / "old") as target:
        with pytest.raises(StoreRefused, match="holds a fabric already"):
            await restore(tmp_path / "dump", target)
    assert await contents(source) == before


async def test_a_witness_log_alone_is_not_replaced(tmp_path: Path) -> None:
    source = await made(tmp_path / "old")
    async with source:
        await dump(await source.source(), tmp_path / "dump", NOW)
    (tmp_path / "old" / "fabric.db").unlink()
    async with Folder(tmp_path / "old") as target:
        with pytest.raises(StoreRefused, match="holds a fabric already"):
            await restore(tmp_path / "dump", target)


@pytest.mark.parametrize("damage", ["cut", "flip", "swap", "drop", "more", "empty", "other"])
async def test_a_damaged_dump_is_refused_before_anything_is_written(
    tmp_path: Path, damage: str
) -> None:
    source = await made(tmp_path / "old")
    file = tmp_path / "dump"
    async with source:
        await dump(await source.source(), file, NOW)
    lines = file.read_bytes().splitlines(keepends=True)
    match damage:
        case "cut":
            lines.pop()
        case "flip":
            lines[2] = lines[2].replace(b'"changes": ', b'"changes": 1')
        case "swap":
            lines[1], lines[2] = lines[2], lines[1]
        case "drop":
            del lines[1]
        case "more":
            lines.append(lines[1])
        case "empty":
            lines.clear()
        case _:
            lines[0] = b'{"format": "another"}\n'
    file.write_bytes(b"".join(lines))
    async with Folder(tmp_path / "new") as target:
        with pytest.raises(DumpError, match=str(file)) as refused:
            await restore(file, target)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "new").exists()


async def test_a_dump_cut_anywhere_is_refused(tmp_path: Path) -> None:
    source = await made(tmp_path / "old")
    file = tmp_path / "dump"
    async with source:
        await dump(await source.source(), file, NOW)
    whole = file.read_bytes()
    for length in range(0, len(whole), 37):
        file.write_bytes(whole[:length])
        with pytest.raises(DumpError):
            Dump(file)


async def test_a_restore_that_was_cut_off_is_repeated(tmp_path: Path) -> None:
    source = await made(tmp_path / "old")
    async with source:
        await dump(await source.source(), tmp_path / "dump", NOW)
    async with Folder(tmp_path / "new") as target:
        await restore(tmp_path / "dump", target)
    # As a process leaves it that is killed just before its last step.
    (tmp_path / "new" / "fabric.restoring").touch()
    with pytest.raises(StoreRefused, match="cut off"):
        await SqliteStore.open(tmp_path / "new")
    async with Folder(tmp_path / "new") as target:
        with pytest.raises(StoreRefused, match="restore it again"):
            await target.source()
        await restore(tmp_path / "dump", target)
    assert await contents(Folder(tmp_path / "new")) == await contents(source)


async def test_a_file_that_cannot_be_written_leaves_none_behind(tmp_path: Path) -> None:
    source = await made(tmp_path / "old")
    async with source:
        with pytest.raises(DumpError, match="cannot be written: No such file"):
            await dump(await source.source(), tmp_path / "nowhere" / "dump", NOW)
    async with Folder(tmp_path / "none") as place:
        with pytest.raises(StoreRefused, match="name the data directory"):
            await dump(await place.source(), tmp_path / "dump", NOW)
    assert names(tmp_path) == ["old"]
