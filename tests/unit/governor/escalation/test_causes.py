"""What of breakers and budgets wants a person."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from infrafabric_server.governor.breaker.models import Breaker, BreakerState
from infrafabric_server.governor.escalation.causes import (
    BREAKERS,
    BUDGETS,
    HOLDS,
    BudgetSource,
    breaker_cause,
)
from infrafabric_server.governor.escalation.models import Kind
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.models import Budget, Cost, Period
from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.store.mirror import Mirror
from tests.unit.notify.world import ManualClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_g7_an_open_breaker_and_a_hold_want_a_person() -> None:
    breaker = Breaker(swarm_id="anna", state=BreakerState.OPEN, open_time=NOW, detail="3 failures")
    cause = breaker_cause(breaker)
    assert cause is not None
    assert cause.escalation_id == BREAKERS + "anna"
    assert cause.summary == "the circuit breaker of swarm anna opened: 3 failures"
    hold = breaker_cause(Breaker(state=BreakerState.OPEN, open_time=NOW))
    assert hold is not None
    assert (hold.escalation_id, hold.summary) == ("hold:fabric", "all work was put on hold")
    assert hold.kind is Kind.HOLD
    assert hold.escalation_id.startswith(HOLDS)
    assert breaker_cause(Breaker(swarm_id="anna", consecutive_failures=2)) is None


class Books:
    """A ledger in which a test spends."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.clock = ManualClock()
        self.ledger = Ledger(mirror, self.clock)
        self.source = BudgetSource(self.ledger, PolicyBook(), self.clock)
        self.told: list[str] = []
        self.source.follow(self.told.append)

    async def limit(self, account: str, micros: int | None, period: Period | None = None) -> None:
        budget = Budget(limit_micros=micros, period=period, update_time=self.clock.now())
        await self.mirror.commit([], [self.ledger.budgets.put(account, budget)])

    async def spend(self, micros: int) -> None:
        cost = Cost(
            swarm_id="anna", operation="llm", micros=micros, time=self.clock.now(), charge=True
        )
        await self.mirror.commit([], [self.ledger.entry(cost)])

    def summary(self, account: str) -> str:
        cause = self.source.cause(BUDGETS + account)
        return "" if cause is None else cause.summary


@pytest.fixture
async def books() -> AsyncIterator[Books]:
    store = await MemoryStore.open(MemoryData())
    mirror = Mirror(store)
    found = Books(mirror)
    await mirror.start()
    yield found
    await store.close()


async def test_g7_a_budget_wants_a_person_from_its_soft_share_on(books: Books) -> None:
    await books.limit("swarm/anna", 10_000_000)
    await books.limit("fabric", 100_000_000)
    await books.spend(7_999_999)
    assert (books.summary("swarm/anna"), list(books.source.ids())) == ("", [])
    await books.spend(1)
    text = "the budget of swarm anna was used to 80 %: 10.00 USD"
    assert books.summary("swarm/anna") == text
    await books.spend(1_000_000)
    assert books.summary("swarm/anna") == text, "not every cost is news"
    await books.spend(1_000_000)
    assert books.summary("swarm/anna") == "the budget of swarm anna was used up: 10.00 USD"
    assert list(books.source.ids()) == ["budget:swarm/anna"]
    assert set(books.told) == {"budget:swarm/anna", "budget:fabric"}
    await books.limit("swarm/anna", None)
    assert books.summary("swarm/anna") == ""
    await books.limit("swarm/anna", 0)
    assert books.summary("swarm/anna") == "", "nothing may be spent, and nobody wonders why"


async def test_g7_with_the_next_period_it_is_over(books: Books) -> None:
    await books.limit("fabric", 1_500_000, Period.DAY)
    await books.spend(1_400_000)
    cause = books.source.cause(BUDGETS + "fabric")
    assert cause is not None
    assert cause.summary == "the budget of the fabric was used to 80 %: 1.50 USD"
    assert cause.swarm_id == ""
    assert cause.until == datetime(2025, 11, 13, tzinfo=UTC)
    books.clock.advance(timedelta(days=1))
    assert books.summary("fabric") == ""
