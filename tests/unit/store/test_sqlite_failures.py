"""Disks that are full or fail: whole groups fail, nothing is half there, and it goes on."""

import asyncio
from pathlib import Path

import pytest

from infrafabric_server.store.protocol import (
    Op,
    Put,
    StoreError,
    StoreFull,
    StoreUnavailable,
    TxnResult,
)
from infrafabric_server.store.sqlite import SqliteStore
from tests.contract.worlds import watched
from tests.harness.file_limit import file_limit

_QUOTA = 1024 * 1024
_LARGE = "x" * 10_000


async def fill(store: SqliteStore) -> int:
    """Change one key until there is no room; return the last revision."""
    for count in range(1000):
        try:
            await store.txn([], [Put("filler", f"{count}{_LARGE}")])
        except StoreFull:
            return count
    pytest.fail("the quota was never reached")


async def test_a_full_disk_refuses_writes_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path, quota=_QUOTA)
    revision = await fill(store)
    with pytest.raises(StoreFull, match="full"):
        await store.txn([], [Put("more", _LARGE)])
    filler = await store.get("filler")
    assert filler is not None
    assert filler.value == f"{revision - 1}{_LARGE}"
    assert await store.revision() == filler.mod_revision == revision
    await store.close()

    store = await SqliteStore.open(tmp_path, quota=2 * _QUOTA)
    assert (await store.txn([], [Put("more", _LARGE)])).revision == revision + 1
    batches = await watched(store, "", 1, revision + 1)
    assert [batch.revision for batch in batches] == list(range(1, revision + 2))
    await store.close()


async def test_forgotten_history_makes_room(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path, quota=_QUOTA)
    for _ in range(3):
        await fill(store)
        await store.compact(await store.revision())
        await store.txn([], [Put("more", _LARGE)])
        await store.health()
    await store.close()


async def test_a_group_that_does_not_fit_fails_whole(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path, quota=_QUOTA)
    lease = await store.grant(60)

    async def attempt(ops: list[Op]) -> TxnResult | StoreError:
        try:
            return await store.txn([], ops)
        except StoreError as error:
            return error

    # They come together, so they are one group, and one of them is too large.
    results = await asyncio.gather(
        *(attempt([Put(f"small{n}", "", lease)]) for n in range(10)),
        attempt([Put(f"large{n}", _LARGE) for n in range(200)]),
        *(attempt([Put(f"small{n}", "")]) for n in range(10, 20)),
    )
    keys = {kv.key for kv in (await store.range("")).kvs}
    for n, result in enumerate(results[:10] + results[11:]):
        assert isinstance(result, TxnResult) is (f"small{n}" in keys)
    assert isinstance(results[10], StoreFull)
    assert not any(key.startswith("large") for key in keys)
    revision = await store.revision()
    assert revision == len(keys)
    after = await store.txn([], [Put("after", "1", lease)])
    assert after.revision == revision + 1
    await store.close()


async def test_a_failing_disk_is_told_and_survived(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path)
    await store.txn([], [Put("before", "1")])
    # Nothing beyond the present end of the write-ahead log.
    with file_limit((tmp_path / "fabric.db-wal").stat().st_size):
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="IOERR"):
                await store.txn([], [Put("lost", _LARGE)])
        with pytest.raises(StoreUnavailable):
            await store.health()
        assert await store.get("lost") is None
    await store.health()
    assert (await store.txn([], [Put("after", "1")])).revision == 2
    await store.close()
    store = await SqliteStore.open(tmp_path)
    assert [kv.key for kv in (await store.range("")).kvs] == ["after", "before"]
    await store.close()
