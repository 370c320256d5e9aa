import asyncio

import pytest

from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import StoreUnavailable
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.memory_log import MemoryWitnessLog
from infrafabric_server.witness.outbox import Outbox
from tests.unit.witness.faults import FaultyStore
from tests.unit.witness.support import HandClock, everything, no_time, running


async def counts(log: WitnessLog) -> list[tuple[str, str, int]]:
    """Return operation, swarm and count of every entry."""
    found = await everything(log)
    return [(each.operation, each.swarm_id, each.details["count"]) for each in found]


async def test_c2_lost_claims_are_in_the_log_when_it_is_asked() -> None:
    """C2: a thousand lost claims of a moment are one entry for each swarm."""
    store, log = await MemoryStore.open(), MemoryWitnessLog()
    async with running(store, log) as it:
        for index in range(1000):
            it.flood.count("claim_refused", f"s{index % 2}", "t", "already_claimed")
        await it.witness.flush()
        found = await everything(log)
    assert sorted(await counts(log)) == [
        ("claim_refused", "s0", 500),
        ("claim_refused", "s1", 500),
    ]
    assert {entry.component for entry in found} == {"coordinator"}
    assert {entry.task_id for entry in found} == {"t"}
    await store.close()


async def test_an_entry_is_written_when_its_second_is_over() -> None:
    store, clock = await MemoryStore.open(), HandClock()
    outbox = Outbox(clock, "test", ())
    flood = Flood(outbox, store, clock, component="coordinator")
    flood.count("claim_refused", "s", "t", "lost_race")
    clock.seconds = 1.0
    run = asyncio.create_task(flood.run())
    batch = await anext(store.watch("outbox/", 1))
    run.cancel()
    assert len(batch.events) == 1
    await store.close()


async def test_a_second_question_within_the_second_waits_for_it() -> None:
    """C2: two entries of one swarm are never less than a second apart."""
    store, log = await MemoryStore.open(), MemoryWitnessLog()
    async with running(store, log) as it:
        it.flood.count("claim_refused", "s", "t", "lost_race")
        await it.witness.flush()
        it.flood.count("claim_refused", "s", "t", "lost_race")
        await it.witness.flush()
        first, second = await everything(log)
    assert (second.decide_time - first.decide_time).total_seconds() >= 1.0
    await store.close()


@pytest.mark.parametrize("late", [False, True])
async def test_what_could_not_be_written_is_written_later_and_once(late: bool) -> None:
    store, log = await FaultyStore.make(), MemoryWitnessLog()
    errors = [StoreUnavailable("cut"), StoreUnavailable("cut")]
    async with running(store, log) as it:
        (store.txns.after if late else store.txns.before).extend(errors)
        it.flood.count("claim_refused", "s", "t", "lost_race")
        await it.flood.flush()
        await it.sealer.flush()
    assert await counts(log) == [("claim_refused", "s", 1)]
    await store.close()


async def test_while_the_outbox_is_full_counting_goes_on() -> None:
    store, clock = await MemoryStore.open(), HandClock()
    waiting = [None] * 10
    flood = Flood(
        Outbox(clock, "test", waiting, limit=10), store, clock, component="c", sleep=no_time
    )
    flood.count("claim_refused", "s", "t", "lost_race")
    async with asyncio.TaskGroup() as group:
        run = group.create_task(flood.run())
        flush = group.create_task(flood.flush())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not flush.done()
        assert (await store.range("outbox/")).kvs == ()
        waiting.clear()
        await flush
        run.cancel()
    assert len((await store.range("outbox/")).kvs) == 1
    await store.close()
