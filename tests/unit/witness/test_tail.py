import asyncio
from collections.abc import AsyncIterator, Sequence

from infrafabric_server.witness.memory_log import MemoryWitnessLog
from infrafabric_server.witness.models import Entry, EntryFilter
from infrafabric_server.witness.tail import Tail
from tests.unit.witness.support import drafts


class CountedLog(MemoryWitnessLog):
    """A log that counts how often it is read."""

    reads = 0

    async def read(
        self, wanted: EntryFilter, *, after: int, upto: int, limit: int
    ) -> tuple[list[Entry], bool]:
        self.reads += 1
        return await super().read(wanted, after=after, upto=upto, limit=limit)


async def take(entries: AsyncIterator[Sequence[Entry]], count: int) -> list[int]:
    """Return the sequences of the next `count` entries."""
    found: list[int] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found.extend(entry.sequence for entry in await anext(entries))
    return found


async def test_w2_a_follower_reads_the_log_and_then_what_is_new() -> None:
    log = CountedLog()
    await log.append(drafts(2500))
    tail = await Tail.open(log)
    assert tail.sequence == 2500
    follower = tail.follow(EntryFilter(), 0)
    assert await take(follower, 2500) == list(range(1, 2501))
    reads = log.reads
    tail.add(await log.append(drafts(2600)))
    assert await take(follower, 100) == list(range(2501, 2601))
    assert log.reads == reads


async def test_a_follower_waits_for_what_matches() -> None:
    log = MemoryWitnessLog()
    tail = await Tail.open(log)
    waiting = asyncio.create_task(take(tail.follow(EntryFilter(task_id="task-3"), 0), 2))
    for count in range(1, 10):
        tail.add(await log.append(drafts(count)))
        await asyncio.sleep(0)
    assert await waiting == [4, 9]


async def test_entries_that_are_told_twice_are_followed_once() -> None:
    log = MemoryWitnessLog()
    tail = await Tail.open(log)
    follower = tail.follow(EntryFilter(), 0)
    tail.add(await log.append(drafts(3)))
    tail.add(await log.append(drafts(5)))
    tail.add([])
    assert await take(follower, 5) == [1, 2, 3, 4, 5]


async def test_n10_a_slow_follower_costs_no_memory_and_misses_nothing() -> None:
    """What it missed is read from the log, although the entries are no longer in memory."""
    log = CountedLog()
    tail = await Tail.open(log)
    slow = tail.follow(EntryFilter(), 0)
    tail.add(await log.append(drafts(1)))
    assert await take(slow, 1) == [1]
    # Five million characters of bodies: more than are kept.
    for count in range(1, 18):
        tail.add(await log.append(drafts(count * 1000)))
    assert log.reads == 0
    assert await take(slow, 16_999) == list(range(2, 17_001))
    assert log.reads > 0
