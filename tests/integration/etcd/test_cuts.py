"""Connections that are cut, members that stop, crash and lose their leader."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from infrafabric_server.store.etcd import EtcdOptions
from infrafabric_server.store.etcd.connection import Connection
from infrafabric_server.store.etcd.rpc import Metadata
from infrafabric_server.store.protocol import (
    Compacted,
    Delete,
    Get,
    Put,
    StoreUnavailable,
    WatchBatch,
    present,
)
from tests.harness.etcd import Etcd
from tests.harness.proxy import Proxy
from tests.integration.etcd.kit import (
    HASTY,
    Counts,
    check_counted,
    count_up,
    followed,
    opened,
    through,
)


async def test_a_catch_up_that_is_cut_again_and_again_loses_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    """N10: 8 MB of history, of which a connection brings two at most, in fragments of 1.5."""
    with Etcd(tmp_path, large=False) as etcd:
        async with opened(etcd.address()) as store, Proxy(etcd.members[0].endpoint) as proxy:
            for number in range(1, 401):
                pad = Put(f"pad{number % 7}", "x" * 20_000)
                await store.txn([], [Put("k", str(number)), pad])
            await store.txn([], [Put("end", "")])
            async with opened(through(etcd.address(), proxy.address)) as behind:
                following = asyncio.create_task(followed(behind, "", 1, "end"))
                for _ in range(3):
                    seen = proxy.accepted
                    proxy.cut_after = 2_000_000
                    while proxy.accepted == seen and not following.done():
                        await asyncio.wait([following], timeout=0.01)
                proxy.cut_after = None
                batches = await following
                assert proxy.accepted > 3
    check_counted(batches, "k", 400)
    assert [batch.revision for batch in batches] == list(range(1, 402))
    assert all(len(batch.events) == 2 for batch in batches[:-1])


async def test_transactions_whose_answers_are_cut_off_are_applied_once(etcd: Etcd) -> None:
    """C1: what happened is read back; nothing is sent again on a guess."""
    counts = Counts()
    async with Proxy(etcd.members[0].endpoint) as proxy:
        address = through(etcd.address(), proxy.address)
        async with opened(address, observer=counts) as store:
            keys = [f"k{n}" for n in range(16)]
            work = asyncio.gather(*(count_up(store, key, 40) for key in keys))
            size = 200
            while not work.done():
                # Each time a little later in an answer.
                size = 200 + (size * 7) % 3_001
                proxy.cut_after = size
                await asyncio.wait([work], timeout=0.05)
            proxy.cut_after = None
            await work
            for key in keys:
                kv = await store.get(key)
                assert kv is not None
                assert (kv.value, kv.version) == ("40", 40)
    assert counts.applied > 0
    assert counts.widest > 1


async def test_each_answer_that_was_read_back_is_the_right_one(etcd: Etcd) -> None:
    """The branch, the gets and the revision of members of one batch whose answer is lost."""
    counts = Counts()
    async with opened(etcd.address()) as direct, Proxy(etcd.members[0].endpoint) as proxy:
        await direct.txn([], [Put("there", "1"), Put("gone", "1")])
        address = through(etcd.address(), proxy.address)
        async with opened(address, observer=counts) as store:
            proxy.stall()
            async with asyncio.TaskGroup() as group:
                # One takes each lane, so that the others go together.
                lanes = [group.create_task(store.txn([], [Put(f"lane{n}", "")])) for n in range(2)]
                await asyncio.sleep(0)
                won = group.create_task(
                    store.txn([present("there")], [Get("there"), Put("there", "2")])
                )
                lost = group.create_task(
                    store.txn([present("nowhere")], [], [Get("gone"), Delete("gone")])
                )
                # A stalled proxy holds requests back; now they go on, and the answers do not.
                proxy.cut_after = 0
                proxy.flow()
            kv = await store.get("there")
            assert kv is not None
            assert [lane.result().succeeded for lane in lanes] == [True, True]
            assert won.result().succeeded
            assert won.result().revision == kv.mod_revision
            assert [got and got.value for got in won.result().gets] == ["1"]
            assert not lost.result().succeeded
            assert [got and got.value for got in lost.result().gets] == ["1"]
            assert await store.get("gone") is None
    assert counts.applied + counts.dropped > 0


async def test_a_stopped_etcd_leaves_no_transaction_in_doubt(etcd: Etcd) -> None:
    counts = Counts()
    (member,) = etcd.members
    async with opened(etcd.address(), observer=counts) as store:
        work = asyncio.gather(*(count_up(store, f"k{n}", 60) for n in range(16)))
        for _ in range(2):
            await asyncio.wait([work], timeout=0.05)
            member.pause()
            # Longer than an attempt: the outcome of what was sent is unknown.
            await asyncio.wait([work], timeout=1.0)
            member.resume()
        await work
        await store.txn([], [Put("end", "")])
        batches = await followed(store, "", 1, "end")
    for n in range(16):
        check_counted(batches, f"k{n}", 60)
    assert counts.applied + counts.dropped > 0


async def test_an_etcd_that_stays_away_is_said_to_be_unavailable(etcd: Etcd) -> None:
    options = EtcdOptions(attempt=0.3, patience=1.0)
    async with opened(etcd.address(), options=options) as store:
        await store.txn([], [Put("a", "1")])
        etcd.kill()
        calls = [store.txn([], [Put(f"k{n}", "")]) for n in range(5)]
        async with asyncio.timeout(15):
            results = await asyncio.gather(
                *calls, store.get("a"), store.health(), return_exceptions=True
            )
        assert [type(result) for result in results] == [StoreUnavailable] * 7
        etcd.start()
        assert (await store.txn([], [Put("a", "2")])).succeeded
        await store.health()


async def test_a_crash_and_restart_under_load_loses_nothing_acknowledged(etcd: Etcd) -> None:
    async with opened(etcd.address()) as store, asyncio.TaskGroup() as group:
        watch = group.create_task(followed(store, "", 1, "end"))
        work = [group.create_task(count_up(store, f"k{n}", 200)) for n in range(8)]
        await asyncio.wait(work, timeout=0.2)
        await asyncio.to_thread(etcd.kill)
        await asyncio.to_thread(etcd.start)
        await asyncio.wait(work)
        await store.txn([], [Put("end", "")])
        batches = await watch
    for n in range(8):
        check_counted(batches, f"k{n}", 200)


async def test_compaction_while_a_watch_is_cut_off_is_told(etcd: Etcd) -> None:
    async with (
        opened(etcd.address()) as store,
        Proxy(etcd.members[0].endpoint) as proxy,
        opened(through(etcd.address(), proxy.address)) as behind,
    ):
        async with aclosing(behind.watch("", 1)) as watch:
            await store.txn([], [Put("a", "0")])
            assert (await anext(watch)).revision == 1
            proxy.refusing = True
            proxy.cut()
            for number in range(10):
                await store.txn([], [Put("a", str(number))])
            await store.compact(9)
            proxy.refusing = False
            with pytest.raises(Compacted) as refused:
                await asyncio.wait_for(anext(watch), 20)
            assert refused.value.oldest == 9
        batches = await followed(behind, "", 9, "a")
        assert batches[0].revision == 9


async def test_a_watch_whose_call_ends_before_it_has_asked_is_begun_again(
    etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another call notes that the member is gone, in the very moment that a watch begins."""
    begin, left = Connection.stream, iter(range(3))

    def stream(
        self: Connection, method: Any, metadata: Metadata
    ) -> tuple[aio.StreamStreamCall[Any, Any], int]:
        call, at = begin(self, method, metadata)
        if next(left, None) is not None:
            call.cancel()
        return call, at

    async with opened(etcd.address()) as store:
        await store.txn([], [Put("a", "")])
        monkeypatch.setattr(Connection, "stream", stream)
        (batch,) = await followed(store, "", 1, "a")
        assert batch.revision == 1
        assert next(left, None) is None


async def test_losing_the_leader_of_three_pauses_and_loses_nothing(tmp_path: Path) -> None:
    with Etcd(tmp_path, members=3) as etcd:
        async with opened(etcd.address(), options=HASTY) as store, asyncio.TaskGroup() as group:
            watch = group.create_task(followed(store, "", 1, "end"))
            work = [group.create_task(count_up(store, f"k{n}", 150)) for n in range(8)]
            await asyncio.wait(work, timeout=0.2)
            leader = await asyncio.to_thread(lambda: etcd.leader)
            await asyncio.to_thread(leader.kill)
            await asyncio.wait(work)
            await asyncio.to_thread(leader.start)
            await asyncio.to_thread(etcd.wait)
            await store.txn([], [Put("end", "")])
            batches = await watch
    for n in range(8):
        check_counted(batches, f"k{n}", 150)


async def test_a_stopped_member_of_three_is_left_for_another(tmp_path: Path) -> None:
    """A member that keeps its connections open and says nothing, with a watch on it."""
    with Etcd(tmp_path, members=3) as etcd:
        async with opened(etcd.address(), options=HASTY) as store:
            async with aclosing(store.watch("", 1)) as watch:
                await store.txn([], [Put("a", "1")])
                assert (await anext(watch)).revision == 1
                # The first in the address is the one that the store speaks to.
                etcd.members[0].pause()
                try:
                    await count_up(store, "k", 20)
                    await store.txn([], [Put("end", "")])
                    told: list[WatchBatch] = []
                    async with asyncio.timeout(25):
                        while not told or all(event.key != "end" for event in told[-1].events):
                            told.append(await anext(watch))
                finally:
                    etcd.members[0].resume()
            check_counted(told, "k", 20)
