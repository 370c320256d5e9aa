"""The leader adds costs up: once each, whatever happens meanwhile."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from infrafabric_server.fleet.leadership import Listener
from infrafabric_server.optimise.models import FABRIC, Budget, Period, Waste
from infrafabric_server.optimise.reports import Dimension, Question
from infrafabric_server.optimise.roller import BATCH
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import (
    Compare,
    Put,
    StoreUnavailable,
    unchanged,
)
from infrafabric_server.store.view import Write
from tests.contract.clock import SteppedClock
from tests.unit.optimise.kit import START, Books, MovedClock, books, cost
from tests.unit.store.kit import FailingStore, keys, running


class Fenced:
    """A leadership that others have taken over: the fence compares a key that has changed."""

    leading = True
    term = 1

    def fence(self) -> list[Compare]:
        return [unchanged("leader/fabric", 1)]

    def follow(self, listener: Listener) -> None:
        """Nobody is told: that is the point."""


async def test_g3_a_cost_is_added_to_its_swarm_and_the_fabric_once() -> None:
    async with books() as opened:
        ledger, now = opened.ledger, START
        await opened.charge([cost("a", 5), cost("a", 7), cost("b", 1)])
        await opened.charge([cost("a", 5, charge=False, waste=Waste.FAILED)])
        before = [ledger.total(each) for each in (FABRIC, "swarm/a", "swarm/b")]
        await opened.roll()
        assert before == [13, 12, 1]
        assert [ledger.total(each) for each in (FABRIC, "swarm/a", "swarm/b")] == before
        assert len(ledger.costs) == 0
        assert list(await keys(opened.store, "rollups/")) == ["2026-05-04T10"]
        assert ledger.spent("swarm/a", now) == 12
        assert (await opened.reports.report(Question())).total.failed_micros == 5


async def test_g3_more_costs_than_one_transaction_takes() -> None:
    async with books() as opened:
        for _ in range(3):
            await opened.charge([cost(f"s{n}", 1) for n in range(BATCH)])
        assert await opened.roller.roll()
        assert len(opened.ledger.costs) == 2 * BATCH
        await opened.roll()
        report = await opened.reports.report(Question())
        assert (report.total.micros, opened.ledger.total(FABRIC)) == (3 * BATCH, 3 * BATCH)


async def test_g3_costs_of_many_hours_take_several_transactions() -> None:
    async with books() as opened:
        await opened.charge([cost("a", 1, START - timedelta(hours=n)) for n in range(20)])
        assert await opened.roller.roll()
        assert len(opened.ledger.costs) == 12
        await opened.roll()
        assert len(await keys(opened.store, "rollups/")) == 20
        assert opened.ledger.total("swarm/a") == 20


@pytest.mark.parametrize("after", [False, True])
async def test_g3_a_lost_answer_loses_and_repeats_nothing(after: bool) -> None:
    clock = MovedClock()
    store = await FailingStore.open()
    opened = Books.over(store, clock)
    async with running(opened.mirror), asyncio.TaskGroup() as group:
        rolling = group.create_task(opened.roller.run())
        await opened.charge([cost("a", 3)])
        store.lost_before, store.lost_after = (0, 1) if after else (1, 0)
        for _ in range(4):
            await clock.advance(1)
        await opened.charge([cost("a", 4)])
        for _ in range(4):
            await clock.advance(1)
        assert opened.ledger.spending.get("swarm/a") is not None
        assert (len(opened.ledger.costs), opened.ledger.total("swarm/a")) == (0, 7)
        assert (await opened.reports.report(Question())).total.micros == 7
        rolling.cancel()
    await store.close()


async def test_d6_a_leader_that_was_followed_adds_nothing() -> None:
    clock = MovedClock()
    store = await MemoryStore.open()
    await store.txn([], [Put("leader/fabric", "{}")])
    await store.txn([], [Put("leader/fabric", "{}")])
    opened = Books.over(store, clock, leadership=Fenced())
    async with running(opened.mirror):
        await opened.charge([cost("a", 3)])
        with pytest.raises(StoreUnavailable):
            await opened.roller.roll()
        assert (len(opened.ledger.costs), opened.ledger.total("swarm/a")) == (1, 3)
    await store.close()


async def test_g3_it_adds_up_at_most_once_a_second() -> None:
    clock = MovedClock()
    async with books(clock) as opened, asyncio.TaskGroup() as group:
        rolling = group.create_task(opened.roller.run())
        await opened.charge([cost("a", 1)])
        await clock.advance(0)
        assert len(opened.ledger.costs) == 0
        revision = await opened.store.revision()
        for _ in range(3):
            await opened.charge([cost("a", 1)])
        await clock.advance(0.5)
        assert len(opened.ledger.costs) == 3
        await clock.advance(0.5)
        assert len(opened.ledger.costs) == 0
        assert await opened.store.revision() == revision + 4
        rolling.cancel()


async def test_g4_what_is_added_up_is_given_back_by_whom_it_was_paid() -> None:
    asked: list[Mapping[str, int]] = []

    def settle(paid: Mapping[str, int]) -> tuple[Sequence[Compare], Sequence[Write]]:
        asked.append(dict(paid))
        return [unchanged("allotments/fabric", 0)], [Put("allotments/fabric", str(dict(paid)))]

    store = await MemoryStore.open()
    opened = Books.over(store, MovedClock(), settle=settle)
    async with running(opened.mirror):
        await opened.charge(
            [cost("a", 3, payer="r1"), cost("b", 4, payer="r1"), cost("a", 5, payer="r2")]
        )
        await opened.charge([cost("a", 9), cost("a", 9, payer="r1", charge=False)])
        await opened.roll()
        assert asked == [{"r1": 7, "r2": 5}]
        assert await keys(store, "allotments/")
    await store.close()


async def test_g4_a_period_that_others_clocks_still_have_is_kept() -> None:
    clock = MovedClock(datetime(2026, 5, 4, 10, 59, 59, tzinfo=UTC))
    async with books(clock) as opened:
        ledger, now = opened.ledger, clock.now()
        hourly = Budget(limit_micros=9, period=Period.HOUR, update_time=now)
        await opened.mirror.commit([], [ledger.budgets.put("swarm/a", hourly)])
        # The second is of a process whose clock is ahead.
        await opened.charge([cost("a", 3, now), cost("a", 4, now + timedelta(seconds=2))])
        for _ in range(2):
            assert ledger.spent("swarm/a", now) == 7
            assert ledger.spent("swarm/a", now + timedelta(seconds=1)) == 4
            assert ledger.spent("swarm/a", now + timedelta(hours=1, seconds=1)) == 0
            await opened.roll()
        assert ledger.total("swarm/a") == 7


async def test_g4_what_was_spent_while_a_clock_was_ahead_hides_nothing_later() -> None:
    clock = MovedClock()
    async with books(clock) as opened:
        ledger = opened.ledger
        hourly = Budget(limit_micros=9, period=Period.HOUR, update_time=START)
        await opened.mirror.commit([], [ledger.budgets.put("swarm/a", hourly)])
        for hours in (2, 3, 4):
            clock.time_of_day = START + timedelta(hours=hours)
            await opened.charge([cost("a", 1, clock.now())])
            await opened.roll()
        clock.time_of_day = START
        before = ledger.spent("swarm/a", START)
        for spent in (1, 2, 3):
            await opened.charge([cost("a", 1, START)])
            await opened.roll()
            assert ledger.spent("swarm/a", START) == before + spent
        # It counts until its own time is over, and not longer.
        assert ledger.spent("swarm/a", START + timedelta(hours=5)) == 0


async def test_g4_another_kind_of_period_counts_what_was_spent_in_it_before() -> None:
    async with books() as opened:
        ledger = opened.ledger
        times = (START, START - timedelta(hours=2), START - timedelta(days=3))
        await opened.charge([cost("a", 10**n, time) for n, time in enumerate(times)])
        await opened.roll()
        spent = []
        for period in (None, Period.HOUR, Period.DAY, Period.WEEK, Period.MONTH):
            budget = Budget(limit_micros=9, period=period, update_time=START)
            await opened.mirror.commit([], [ledger.budgets.put("swarm/a", budget)])
            spent.append(ledger.spent("swarm/a", START))
        assert spent == [111, 1, 11, 11, 111]


async def test_w4_hours_become_days_and_old_days_go() -> None:
    clock = MovedClock()
    async with books(clock) as opened:
        for hours in (0, 1, 30):
            await opened.charge([cost("a", 5, START - timedelta(hours=hours))])
        await opened.roll()
        clock.time_of_day += timedelta(days=31)
        await opened.roller.tidy()
        assert list(await keys(opened.store, "rollups/")) == ["2026-05-03", "2026-05-04"]
        by_hour = await opened.reports.report(Question(frozenset({Dimension.HOUR})))
        assert [(line.row.micros, line.hour) for line in by_hour.lines] == [
            (10, datetime(2026, 5, 4, tzinfo=UTC)),
            (5, datetime(2026, 5, 3, tzinfo=UTC)),
        ]
        # What comes late goes to the day.
        await opened.charge([cost("a", 1)])
        await opened.roll()
        assert list(await keys(opened.store, "rollups/")) == ["2026-05-03", "2026-05-04"]
        clock.time_of_day += timedelta(days=369)
        await opened.roller.tidy()
        assert list(await keys(opened.store, "rollups/")) == ["2026-05-04"]
        assert opened.ledger.total("swarm/a") == 16


async def test_w4_the_leader_tidies_when_it_begins_and_each_day() -> None:
    clock = MovedClock()
    async with books(clock) as opened, asyncio.TaskGroup() as group:
        rolling = group.create_task(opened.roller.run())
        await opened.charge([cost("a", 5)])
        await clock.advance(2)
        clock.time_of_day += timedelta(days=31)
        await opened.charge([cost("a", 5, clock.now())])
        await _rounds(clock, opened)
        assert list(await keys(opened.store, "rollups/")) == ["2026-05-04", "2026-06-04T10"]
        rolling.cancel()


async def test_g6_the_last_minute_forgets_what_is_older() -> None:
    clock = MovedClock()
    async with books(clock) as opened:
        await opened.charge([cost("a", 5), cost("b", 1), cost("a", 2, START - timedelta(hours=1))])
        await opened.roll()
        assert opened.ledger.minute("a", START) == 5
        assert opened.ledger.minute("a", START + timedelta(seconds=59)) == 5
        assert opened.ledger.minute("a", START + timedelta(seconds=60)) == 0
        assert opened.ledger.minute("b", START + timedelta(seconds=60)) == 0


async def test_listeners_hear_of_accounts_that_changed_and_no_others() -> None:
    async with books() as opened:
        told: list[str] = []
        opened.ledger.subscribe(told.append)
        await opened.charge([cost("a", 5)])
        assert told == ["swarm/a", FABRIC]
        await opened.roll()
        assert told == ["swarm/a", FABRIC]
        budget = Budget(limit_micros=9, update_time=START)
        await opened.mirror.commit([], [opened.ledger.budgets.put("swarm/b", budget)])
        assert told[2:] == ["swarm/b"]


async def _rounds(clock: SteppedClock, opened: Books) -> None:
    for _ in range(5):
        await clock.settle(opened.store)
        await clock.advance(1)
