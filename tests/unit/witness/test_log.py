"""One suite for every log of decisions."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from infrafabric_server.store.protocol import KeyValue, StoreClosed
from infrafabric_server.witness.chain import GENESIS, verify
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.memory_log import MemoryWitnessLog
from infrafabric_server.witness.models import Entry, EntryFilter
from infrafabric_server.witness.sqlite_log import SqliteWitnessLog
from tests.unit.witness.support import START, drafts, everything


@pytest.fixture(params=["memory", "sqlite"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[WitnessLog]:
    opened: WitnessLog = (
        MemoryWitnessLog() if request.param == "memory" else await SqliteWitnessLog.open(tmp_path)
    )
    yield opened
    await opened.close()


async def test_an_empty_log(log: WitnessLog) -> None:
    assert await log.last() is None
    assert await log.span(None, None) == (1, 0)
    assert await log.read(EntryFilter(), after=0, upto=100, limit=10) == ([], False)
    assert await log.append([]) == []


async def test_w1_what_is_appended_is_one_chain_in_the_order_given(log: WitnessLog) -> None:
    waiting = drafts(10)
    first = await log.append(waiting[:4])
    second = await log.append(waiting[4:])
    found = await everything(log)
    assert found == [*first, *second]
    assert [entry.sequence for entry in found] == list(range(1, 11))
    assert [entry.revision for entry in found] == [kv.mod_revision for kv in waiting]
    assert [f"outbox/{entry.entry_id}" for entry in found] == [kv.key for kv in waiting]
    assert found[0].previous_hash == GENESIS
    assert verify(found).broken is None
    assert await log.last() == found[-1]


async def test_a_repeat_doubles_nothing_and_answers_the_same(log: WitnessLog) -> None:
    waiting = drafts(6)
    first = await log.append(waiting[:4])
    assert await log.append(waiting[:4]) == first
    assert [entry.sequence for entry in await log.append(waiting[2:])] == [3, 4, 5, 6]
    assert verify(await everything(log)).sequence == 6


@pytest.mark.parametrize(
    "value",
    [
        "{oops",
        '{"time":"2026-01-01T00:00Z","component":"","operation":"","attempt":9223372036854775808}',
        '{"time":"2026-01-01T00:00:00Z","component":"c","operation":"o","details":{"x":NaN}}',
        '{"time":"0001-01-01T00:00:00+14:00","component":"c","operation":"o"}',
    ],
)
async def test_a_draft_that_no_entry_can_hold_stops_no_other(log: WitnessLog, value: str) -> None:
    good = drafts(2)
    await log.append([good[0], KeyValue("outbox/by-hand", value, 5, 5, 1), good[1]])
    found = await everything(log)
    assert [entry.sequence for entry in found] == [1, 2, 3]
    assert found[1].entry_id == "by-hand"
    assert found[1].operation == "draft_unreadable"
    assert found[1].details == {"value": value}
    assert verify(found).broken is None


@pytest.mark.parametrize(
    "wanted",
    [
        EntryFilter(),
        EntryFilter(component="notify"),
        EntryFilter(operation="claim_won"),
        EntryFilter(swarm_id="swarm-2"),
        EntryFilter(task_id="task-3"),
        EntryFilter(component="coordinator", operation="claim_won"),
        EntryFilter(swarm_id="swarm-1", task_id="task-1", operation="claim_won"),
        EntryFilter(swarm_id="nobody"),
        EntryFilter(after=START + timedelta(seconds=20)),
        EntryFilter(before=START + timedelta(seconds=20)),
        EntryFilter(
            after=START + timedelta(seconds=7),
            before=START + timedelta(seconds=31),
            component="coordinator",
        ),
    ],
)
@pytest.mark.parametrize("limit", [1, 7, 1000])
async def test_w2_filters_and_pages_give_exactly_what_matches(
    log: WitnessLog, wanted: EntryFilter, limit: int
) -> None:
    entries = await log.append(drafts(60))
    found: list[Entry] = []
    more = True
    while more:
        after = found[-1].sequence if found else 0
        page, more = await log.read(wanted, after=after, upto=50, limit=limit)
        assert len(page) == limit or not more
        found.extend(page)
    assert found == [entry for entry in entries[:50] if wanted.matches(entry)]


async def test_w2_times_count_from_after_up_to_but_not_including_before(log: WitnessLog) -> None:
    await log.append(drafts(10))
    second = timedelta(seconds=1)
    assert await log.span(START + 3 * second, START + 5 * second) == (4, 5)
    assert await log.span(START + 3 * second, START + 3 * second) == (1, 0)
    assert await log.span(None, START + second) == (1, 1)
    assert await log.span(START + 9 * second, None) == (10, 10)


async def test_a_closed_log_says_so(log: WitnessLog) -> None:
    await log.close()
    await log.close()
    with pytest.raises(StoreClosed):
        await log.append(drafts(1))
    with pytest.raises(StoreClosed):
        await log.last()
