"""Generated histories of accounts: no sum is ever wrong, whoever asks, and whatever moves."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from infrafabric_server.optimise.models import FABRIC, Budget, Cost, Period, swarm_account
from infrafabric_server.optimise.periods import period_at, zone
from infrafabric_server.store.mirror import Change
from infrafabric_server.store.protocol import StoreUnavailable
from tests.unit.optimise.kit import Books, MovedClock, cost
from tests.unit.store.kit import HeldMachine, end

# Hundreds of histories: more than the limit for one test on a machine that is busy.
pytestmark = pytest.mark.timeout(300)

T = TypeVar("T")

_SWARMS = ["a", "b"]
_ACCOUNTS = [FABRIC, *map(swarm_account, _SWARMS)]
# Clocks change in the days of the history.
_ZONES = dict(zip(_ACCOUNTS, ["Australia/Lord_Howe", "Europe/Vienna", "UTC"], strict=True))
_START = datetime.fromisoformat("2026-03-28T22:59:30+00:00")
# Clocks may differ by less than any period is long.
_AGES = st.sampled_from([-59.0, 0.0, 0.5, 59.0, 61.0, 3600.0, 86_400.0, 2_000_000.0])
_CHARGES = st.lists(
    st.tuples(st.sampled_from(_SWARMS), st.integers(0, 9), _AGES, st.booleans()), max_size=4
)


@dataclass
class Charge:
    """A cost with the revision that it was written at, and who wrote it."""

    cost: Cost
    revision: int
    by: int


class LedgerMachine(HeldMachine):
    """Two processes charge and roll; what watches bring is held back, and history forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.charges: list[Charge] = []
        self.wrong: list[str] = []

    @initialize()
    def open(self) -> None:
        self.clock = MovedClock(_START)
        self.open_store()
        self.run(self._set_zones())
        self.books = [Books.over(self.store, self.clock, replica=str(n)) for n in range(2)]
        self.following = []
        for number, books in enumerate(self.books):

            def check(_change: Change[Any], number: int = number) -> None:
                self._check(number)

            books.ledger.costs.subscribe(check)
            books.ledger.spending.subscribe(check)
            self.run(books.mirror.start())
            self.following.append(self.loop.create_task(books.mirror.run()))

    @rule(by=st.integers(0, 1), charges=_CHARGES)
    def charge(self, by: int, charges: list[tuple[str, int, float, bool]]) -> None:
        now = self.clock.now()
        costs = [
            cost(swarm, micros, now - timedelta(seconds=age), charge=charged)
            for swarm, micros, age, charged in charges
        ]
        revision = self.run(self.store.revision()) + 1
        self.charges += [Charge(each, revision, by) for each in costs if each.charge]
        self.run(self.books[by].charge(costs))

    @rule(by=st.integers(0, 1))
    def roll(self, by: int) -> None:
        """Whoever does not know that the other one rolled moves nothing."""
        seen = self.books[by].mirror.revision
        try:
            self.run(self.books[by].roller.roll())
        except StoreUnavailable:
            assert self.run(self.store.revision()) > seen

    @rule(
        by=st.integers(0, 1),
        account=st.sampled_from(_ACCOUNTS),
        period=st.none() | st.sampled_from(Period),
    )
    def set_budget(self, by: int, account: str, period: Period | None) -> None:
        books = self.books[by]
        self.run(
            books.mirror.commit(
                [], [books.ledger.budgets.put(account, self._budget(account, period))]
            )
        )

    @rule(minutes=st.sampled_from([0.5, 10, 60, 600, 1440, 20_000]))
    def pass_time(self, minutes: float) -> None:
        self.clock.time_of_day += timedelta(minutes=minutes)

    @rule()
    def start_another(self) -> None:
        """A process that starts now finds the same sums."""

        async def started() -> Books:
            books = Books.over(self.store, self.clock)
            await books.mirror.start()
            return books

        everything = [each.cost for each in self.charges]
        self._compare("new", self.run(started()), everything)

    @invariant()
    def every_sum_is_right(self) -> None:
        if not hasattr(self, "books"):
            return
        for number, following in enumerate(self.following):
            assert not following.done()
            self._check(number)
        assert self.wrong == []

    def teardown(self) -> None:
        end(self.loop)

    def _check(self, number: int) -> None:
        books = self.books[number]
        seen = [
            each.cost
            for each in self.charges
            if each.by == number or each.revision <= books.mirror.revision
        ]
        self._compare(str(number), books, seen)

    def _compare(self, name: str, books: Books, seen: list[Cost]) -> None:
        now = self.clock.now()
        for account in _ACCOUNTS:
            charged = [each for each in seen if account in (FABRIC, swarm_account(each.swarm_id))]
            total = sum(each.micros for each in charged)
            budget = books.ledger.budget(account)
            spent = total
            if budget is not None and budget.period is not None:
                begin, _ = period_at(budget.period, now, zone(budget.time_zone))
                spent = sum(each.micros for each in charged if each.time >= begin)
            found = (books.ledger.total(account), books.ledger.spent(account, now))
            if found != (total, spent):
                self.wrong.append(f"{name}: {account}: {found}, not {(total, spent)}")

    async def _set_zones(self) -> None:
        books = Books.over(self.store, self.clock)
        budgets = books.ledger.budgets
        await self.store.txn([], [budgets.put(each, self._budget(each)) for each in _ACCOUNTS])

    def _budget(self, account: str, period: Period | None = None) -> Budget:
        now = self.clock.now()
        return Budget(limit_micros=9, period=period, time_zone=_ZONES[account], update_time=now)

    async def caught_up(self, revision: int) -> None:
        async with asyncio.timeout(10):
            for books in self.books:
                await books.mirror.caught_up(revision)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=300,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
