"""What etcd refuses, and what its other users change."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from infrafabric_server.store.etcd import EtcdOptions
from infrafabric_server.store.protocol import (
    Compacted,
    FoldResult,
    LeaseNotFound,
    Member,
    Put,
    Store,
    StoreError,
    StoreFull,
    StoreRefused,
    absent,
    present,
)
from tests.harness.etcd import Etcd
from tests.integration.etcd.kit import HASTY, opened


async def _filled(store: Store) -> None:
    # etcd looks at its size now and then.
    for n in range(1000):
        await store.txn([], [Put(f"k{n % 40}", "x" * 1_000_000)])


async def _read_until_compacted(store: Store, revision: int) -> None:
    async with asyncio.timeout(20):
        while True:
            await store.range("", revision=revision)
            await asyncio.sleep(0.1)


async def test_a_transaction_larger_than_etcd_takes_names_the_flag(tmp_path: Path) -> None:
    with Etcd(tmp_path, large=False) as etcd:
        async with opened(etcd.address()) as store:
            small = [store.txn([], [Put(f"small{n}", "")]) for n in range(20)]
            many = store.txn([], [Put(f"k{n}", "") for n in range(200)])
            large = store.txn([], [Put("large", "x" * 2_000_000)])
            huge = store.txn([], [Put("huge", "x" * 8_000_000)])
            results = await asyncio.gather(*small, many, large, huge, return_exceptions=True)
            assert not any(isinstance(result, BaseException) for result in results[:20])
            for result, flag in zip(
                results[20:],
                ["--max-txn-ops", "--max-request-bytes", "--max-request-bytes"],
                strict=True,
            ):
                assert isinstance(result, StoreError)
                assert flag in str(result)
            assert (await store.range("k")).kvs == ()


async def test_folds_keep_within_etcds_own_limit_of_operations(tmp_path: Path) -> None:
    """64 members and the widest that fits, alone and in company; one more names the flag."""
    with Etcd(tmp_path, large=False) as etcd:
        async with opened(etcd.address()) as store:

            async def fold(name: str, puts: int) -> FoldResult:
                wide = Member([absent(f"{name}/0")], [Put(f"{name}/{n}", "") for n in range(puts)])
                members = [wide, *(Member([], [Put(f"{name}/m{n}", "")]) for n in range(63))]
                return await store.fold([absent(name)], [Put(name, "")], members)

            # A batch of one takes 3, the fold 64 members, its own write and its evidence.
            result = await fold("widest", 59)
            assert all(member.succeeded for member in result.members)
            together = await asyncio.gather(*(fold(f"f{n}", 10 + n) for n in range(8)))
            assert all(member.succeeded for each in together for member in each.members)
            with pytest.raises(StoreError, match="--max-txn-ops"):
                await fold("wider", 60)
            assert await store.get("wider") is None


async def test_a_board_of_a_thousand_tasks_is_one_transaction(etcd: Etcd) -> None:
    async with opened(etcd.address()) as store:
        result = await store.txn([], [Put(f"k{n:04}", "x" * 1000) for n in range(6000)])
        page = await store.range("", limit=10_000)
        assert {kv.mod_revision for kv in page.kvs} == {result.revision}
        assert (len(page.kvs), page.more) == (6000, False)


async def test_a_full_quota_is_told_and_passes(tmp_path: Path) -> None:
    quota = 16 * 1024 * 1024
    with Etcd(tmp_path, arguments=[f"--quota-backend-bytes={quota}"]) as etcd:
        async with opened(etcd.address()) as store:
            with pytest.raises(StoreFull, match="quota"):
                await _filled(store)
            with pytest.raises(StoreFull):
                await store.health()
            assert await store.get("k0") is not None
            # What the message says, by hand.
            etcd.control("del", "--prefix", "fabric/kv/")
            # The store keeps the revision before the one that it compacts at: one more.
            etcd.control("del", "--prefix", "fabric/own/lanes/")
            await store.compact(await store.revision())
            etcd.control("defrag")
            etcd.control("alarm", "disarm")
            await store.health()
            await store.txn([], [Put("a", "1")])


async def test_a_dead_lease_does_not_fail_the_company(etcd: Etcd) -> None:
    async with opened(etcd.address()) as store:
        dead, alive = await store.grant(30), await store.grant(30)
        await store.revoke(dead)
        results = await asyncio.gather(
            *(store.txn([], [Put(f"k{n}", "", (0, dead, alive)[n % 3])]) for n in range(60)),
            return_exceptions=True,
        )
        assert [isinstance(result, LeaseNotFound) for result in results] == [
            n % 3 == 1 for n in range(60)
        ]
        assert len((await store.range("k")).kvs) == 40


async def test_fabrics_on_one_cluster_do_not_see_each_other(etcd: Etcd) -> None:
    async with opened(etcd.address("one")) as one, opened(etcd.address("two")) as two:
        await one.txn([], [Put("a", "1")])
        assert await two.get("a") is None
        assert (await two.range("")).kvs == ()
        await two.txn([], [Put("a", "2")])
        kv = await one.get("a")
        assert kv is not None
        assert kv.value == "1"


async def test_a_revision_that_another_fabric_made_is_reached_by_watches(etcd: Etcd) -> None:
    """Who waits until the views hold the state that refused a transaction must not hang."""
    async with (
        opened(etcd.address("one")) as one,
        opened(etcd.address("two")) as two,
        aclosing(one.watch("", 1)) as watch,
    ):
        await one.txn([], [Put("a", "1")])
        batch = await anext(watch)
        for n in range(10):
            await two.txn([], [Put("b", str(n))])
        refused = await one.txn([present("nothing")], [Put("a", "2")])
        assert not refused.succeeded
        assert refused.revision > batch.revision
        async with asyncio.timeout(10):
            while batch.revision < refused.revision:
                batch = await anext(watch)
                assert batch.events == ()


async def test_history_is_forgotten_by_age(etcd: Etcd) -> None:
    options = EtcdOptions(history=1.0)
    async with opened(etcd.address(), options=options) as store:
        for n in range(5):
            await store.txn([], [Put("a", str(n))])
        with pytest.raises(Compacted):
            await _read_until_compacted(store, 2)
        assert (await store.txn([present("a")], [Put("a", "last")])).succeeded


async def test_what_is_there_is_read_after_a_compaction_at_the_newest_revision(etcd: Etcd) -> None:
    """A server that starts when nobody writes must not wait for a revision that never comes."""
    async with opened(etcd.address()) as store:
        for n in range(3):
            await store.txn([], [Put(f"k{n}", "")])
        newest = await store.revision()
    etcd.control("compact", str(etcd.revision()))
    async with opened(etcd.address()) as store:
        first = await store.range("", limit=2)
        assert first.revision == newest
        rest = await store.range("", after=first.kvs[-1].key, revision=first.revision)
        assert [kv.key for kv in (*first.kvs, *rest.kvs)] == ["k0", "k1", "k2"]
        await store.txn([], [Put("k3", "")])
        with pytest.raises(Compacted):
            await store.range("", revision=newest)


async def test_a_prefix_that_holds_something_else_is_refused(etcd: Etcd) -> None:
    async with opened(etcd.address("outer")) as store:
        await store.txn([], [Put("a", "1")])
    etcd.put("other/own/origin", "not ours")
    with pytest.raises(StoreRefused, match="prefix"):
        async with opened(etcd.address("other")):
            pass
    etcd.put("later/own/origin", '{"format": 2, "revision": 0}')
    with pytest.raises(StoreRefused, match="format 2"):
        async with opened(etcd.address("later"), options=HASTY):
            pass
