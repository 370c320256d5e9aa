import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import (
    Compacted,
    KeyValue,
    Put,
    Store,
    StoreClosed,
    StoreFull,
    StoreUnavailable,
    absent,
)
from infrafabric_server.witness.appender import LocalAppender
from infrafabric_server.witness.chain import verify
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.memory_log import MemoryWitnessLog
from infrafabric_server.witness.models import Entry
from infrafabric_server.witness.sealer import Sealer
from infrafabric_server.witness.tail import Tail
from tests.unit.witness.faults import FaultyLog, FaultyStore
from tests.unit.witness.support import Running, drafts, everything, mirrored, running

LOST = StoreUnavailable("the disk is gone")


async def seal_alone(store: Store, log: WitnessLog) -> None:
    """Do what the sealer of the only process does, until cancelled."""
    appender = LocalAppender(log, await Tail.open(log))
    async with mirrored(store) as mirror:
        await Sealer(store, mirror, appender, SoleLeader()).run()


async def put_drafts(store: Store, count: int) -> list[str]:
    """Leave `count` decisions in the outbox, as a server that died does; return their ids."""
    for kv in drafts(count):
        await store.txn([], [Put(kv.key, kv.value)])
    return [kv.key.removeprefix("outbox/") for kv in drafts(count)]


async def emptied(store: Store) -> None:
    """Return when the outbox is empty."""
    page = await store.range("outbox/", limit=10_000)
    left = {kv.key for kv in page.kvs}
    changes = store.watch("outbox/", page.revision + 1)
    async with asyncio.timeout(20):
        while left:
            batch = await anext(changes)
            left -= {event.key for event in batch.events if event.kv is None}


async def ids(log: WitnessLog) -> list[str]:
    """Return the ids of a log, which must be a good chain."""
    entries = await everything(log)
    assert verify(entries).broken is None
    return [entry.entry_id for entry in entries]


async def refused(it: Running) -> FabricError:
    """Decide until a decision is refused; return the refusal."""
    while True:
        try:
            await it.decide("decision")
        except FabricError as error:
            return error


async def test_w1_decisions_are_sealed_in_the_order_of_their_revisions(
    store: Store, log: WitnessLog
) -> None:
    async with running(store, log) as it:
        first = await it.decide("a", "b", "c")
        many = await asyncio.gather(*(it.decide(f"d{n}", f"e{n}") for n in range(50)))
        last = await it.decide("z")
        await it.witness.flush()
        found = await everything(log)
        await emptied(store)
    assert verify(found).broken is None
    assert [entry.operation for entry in found[:3]] == ["a", "b", "c"]
    revisions = [entry.revision for entry in found]
    assert revisions == sorted([*[first] * 3, *many, *many, last])
    # The two entries of one transaction stay together and in order.
    pairs = zip(found[3:-1:2], found[4:-1:2], strict=True)
    assert all(d.operation == "d" + e.operation[1:] for d, e in pairs)


async def test_w1_a_transaction_that_failed_leaves_no_entry(store: Store, log: WitnessLog) -> None:
    async with running(store, log) as it:
        await store.txn([], [Put("task", "taken")])
        draft = it.outbox.draft("test", "claim_won")
        assert not (await store.txn([absent("task")], [Put("task", "mine"), draft])).succeeded
        await it.witness.flush()
    assert await everything(log) == []


async def test_w1_what_a_dead_server_left_is_sealed_once(store: Store, log: WitnessLog) -> None:
    """After a crash between the log and the outbox, some are sealed and still waiting."""
    left = await put_drafts(store, 9)
    kvs = sorted((await store.range("outbox/")).kvs, key=lambda kv: kv.mod_revision)
    await log.append(kvs[:5])
    async with running(store, log) as it:
        await it.decide("new")
        await it.witness.flush()
        await emptied(store)
    assert (await ids(log))[:9] == left
    assert len(await ids(log)) == 10


@pytest.mark.parametrize("steps", range(0, 60, 2))
async def test_w1_a_crash_at_any_moment_loses_and_doubles_nothing(steps: int) -> None:
    store, log = await MemoryStore.open(), MemoryWitnessLog()
    left = await put_drafts(store, 4)
    sealer = asyncio.create_task(seal_alone(store, log))
    for _ in range(steps):
        await asyncio.sleep(0)
    sealer.cancel()
    with suppress(asyncio.CancelledError):
        await sealer
    async with running(store, log) as it:
        await it.witness.flush()
        await emptied(store)
    assert await ids(log) == left
    await store.close()


faults = st.lists(st.sampled_from([None, LOST, StoreFull("full")]), max_size=3)


@settings(max_examples=20, deadline=None)
@given(faults, faults, faults, faults)
async def test_w1_failures_before_or_after_the_effect_lose_and_double_nothing(
    appends: list[StoreUnavailable | StoreFull | None],
    appended: list[StoreUnavailable | StoreFull | None],
    txns: list[StoreUnavailable | StoreFull | None],
    txned: list[StoreUnavailable | StoreFull | None],
) -> None:
    store, log = await FaultyStore.make(), FaultyLog()
    left = await put_drafts(store, 5)
    log.faults.before, log.faults.after = list(appends), list(appended)
    store.txns.before, store.txns.after = list(txns), list(txned)
    async with running(store, log) as it:
        await it.sealer.flush()
        await emptied(store)
        assert it.tail.sequence == 5
    assert await ids(log) == left
    await store.close()


async def test_w1_a_lost_log_fills_the_outbox_stops_decisions_and_nothing_else() -> None:
    store, log = await MemoryStore.open(), FaultyLog()
    log.faults.always = LOST
    async with running(store, log, limit=20) as it:
        refusal = await refused(it)
        assert refusal.reason is Reason.OUTBOX_FULL
        assert len(it.sealer) >= 20
        await store.txn([], [Put("sessions/s", "alive")])
        decided = len(it.sealer)
        log.faults.always = None
        await it.sealer.flush()
        await it.decide("again")
        await it.witness.flush()
        assert len(await ids(log)) == decided + 1
    await store.close()


async def test_decisions_before_and_after_a_gap_in_the_news_are_sealed_once() -> None:
    store, log = await FaultyStore.make(), MemoryWitnessLog()
    behind = Compacted(1)
    store.watches.before = [behind, behind]
    store.watches.after = [None, behind, None, None, behind]
    async with running(store, log) as it:
        for count in range(30):
            await it.decide(f"d{count}")
        await it.sealer.flush()
        await emptied(store)
        assert [entry.operation for entry in await everything(log)] == [
            f"d{count}" for count in range(30)
        ]
    await store.close()


async def test_a_backlog_larger_than_a_batch_is_sealed_in_order(log: WitnessLog) -> None:
    store = await MemoryStore.open()
    kvs = drafts(2500)
    # All of one revision: a batch ends in the middle of it.
    await store.txn([], [Put(kv.key, kv.value) for kv in kvs])
    async with running(store, log) as it:
        await it.witness.flush()
        assert await ids(log) == [kv.key.removeprefix("outbox/") for kv in kvs]
        await emptied(store)
    await store.close()


async def test_a_flush_ends_with_the_mirror() -> None:
    store, log = await MemoryStore.open(), FaultyLog()
    log.faults.always = LOST
    async with running(store, log) as it:
        await it.decide("decision")
        flushing = asyncio.create_task(it.sealer.flush())
        await it.mirror.caught_up(await store.revision())
        await it.mirror.close()
        with pytest.raises(StoreClosed):
            async with asyncio.timeout(5):
                await flushing
    await store.close()


async def test_without_anything_to_seal_a_flush_needs_no_log() -> None:
    store, log = await MemoryStore.open(), FaultyLog()
    log.faults.always = LOST
    async with running(store, log) as it, asyncio.timeout(5):
        await it.witness.flush()
    await store.close()


async def test_an_error_that_nobody_expects_ends_the_sealer() -> None:
    class Mistaken(MemoryWitnessLog):
        async def append(self, waiting: Sequence[KeyValue]) -> list[Entry]:
            raise ZeroDivisionError(len(waiting))

    store = await MemoryStore.open()
    await put_drafts(store, 1)
    with pytest.raises(ExceptionGroup) as caught:
        await seal_alone(store, Mistaken())
    assert caught.group_contains(ZeroDivisionError)
    await store.close()
