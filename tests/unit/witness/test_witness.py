import asyncio
from datetime import timedelta

import pytest

from infrafabric_server.errors import FabricError, InvalidField, Reason
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Put, StoreUnavailable
from infrafabric_server.witness.memory_log import MemoryWitnessLog
from infrafabric_server.witness.models import EntryFilter
from infrafabric_server.witness.witness import IFWitness, Place
from tests.unit.witness.faults import FaultyLog
from tests.unit.witness.support import START, Running, drafts, running


async def sequences(witness: IFWitness, wanted: EntryFilter, limit: int = 10) -> list[list[int]]:
    """Return the sequences on each page of a query."""
    pages: list[list[int]] = []
    place: Place | None = None
    while True:
        page = await witness.query(wanted, place, limit)
        pages.append([entry.sequence for entry in page.entries])
        if not page.more:
            return pages
        place = Place(page.entries[-1].sequence, page.upto)


async def filled(it: Running, count: int) -> None:
    """Decide `count` times."""
    await it.store.txn([], [Put(kv.key, kv.value) for kv in drafts(count)])


async def test_w2_a_query_includes_all_that_was_decided_before_it() -> None:
    store, log = await MemoryStore.open(), MemoryWitnessLog()
    async with running(store, log) as it:
        for count in range(1, 30):
            await it.decide("claim_won", task_id="t")
            pages = await sequences(it.witness, EntryFilter(task_id="t"), 100)
            assert pages == [list(range(1, count + 1))]
    await store.close()


async def test_w2_pages_end_where_the_log_ended_when_the_query_began() -> None:
    store, log = await MemoryStore.open(), MemoryWitnessLog()
    async with running(store, log) as it:
        await filled(it, 25)
        page = await it.witness.query(EntryFilter(), None, 10)
        await it.decide("later")
        await it.witness.flush()
        second = await it.witness.query(EntryFilter(), Place(10, page.upto), 10)
        third = await it.witness.query(EntryFilter(), Place(20, page.upto), 10)
        assert (page.more, second.more, third.more) == (True, True, False)
        assert [entry.sequence for entry in third.entries] == [21, 22, 23, 24, 25]
    await store.close()


async def test_w2_times_and_other_filters_are_joined_by_and() -> None:
    store, log = await MemoryStore.open(), MemoryWitnessLog()
    async with running(store, log) as it:
        await filled(it, 60)
        wanted = EntryFilter(
            swarm_id="swarm-1",
            after=START + timedelta(seconds=9),
            before=START + timedelta(seconds=29),
        )
        assert await sequences(it.witness, wanted, 3) == [[10, 14, 18], [22, 26]]
        nothing = EntryFilter(after=START + timedelta(days=1))
        assert await sequences(it.witness, nothing) == [[]]
    await store.close()


async def test_a_tail_without_a_place_begins_with_what_is_decided_next() -> None:
    store, log = await MemoryStore.open(), MemoryWitnessLog()
    async with running(store, log) as it:
        await it.decide("before")
        await it.witness.flush()
        follower = it.witness.tail(EntryFilter(), None)
        first = asyncio.ensure_future(anext(follower))
        # Enough turns for it to begin; without them it would wait for ever below.
        for _ in range(200):
            await asyncio.sleep(0)
        await it.decide("after")
        assert [entry.operation for entry in await first] == ["after"]
    await store.close()


async def test_a_tail_resumes_behind_a_sequence() -> None:
    store, log = await MemoryStore.open(), MemoryWitnessLog()
    async with running(store, log) as it:
        await filled(it, 5)
        entries = await anext(aiter(it.witness.tail(EntryFilter(), 3)))
        assert [entry.sequence for entry in entries] == [4, 5]
        with pytest.raises(InvalidField, match="after_sequence: must be at most 5"):
            await anext(aiter(it.witness.tail(EntryFilter(), 6)))
    await store.close()


async def test_a_log_that_cannot_be_written_is_told_to_who_asks() -> None:
    store, log = await MemoryStore.open(), FaultyLog()
    log.faults.always = StoreUnavailable("the disk is gone")
    async with running(store, log, patience=0.05) as it:
        await it.decide("decided")
        with pytest.raises(FabricError, match="could not be written") as caught:
            await it.witness.query(EntryFilter(), None, 10)
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        log.faults.always = None
        assert await sequences(it.witness, EntryFilter()) == [[1]]
    await store.close()
