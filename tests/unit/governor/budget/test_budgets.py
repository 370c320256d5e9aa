"""G4, G5: how accounts stand, what limits them, and since when."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from infrafabric_server.errors import FabricError, InvalidField, Reason
from infrafabric_server.governor.budget.budgets import Budgets, Terms
from infrafabric_server.governor.budget.ports import Spent
from infrafabric_server.governor.budget.rules import BudgetState
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.optimise.models import FABRIC, Period, swarm_account
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.witness.outbox import Outbox
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, running_fabric


@dataclass(frozen=True, slots=True)
class Money:
    """Budgets over a running coordinator."""

    fabric: Fabric
    budgets: Budgets
    clock: SteppedClock


@pytest.fixture
async def money() -> AsyncIterator[Money]:
    """Return the budgets of a fabric with swarms `s0` to `s4`."""
    clock = SteppedClock()
    store = await MemoryStore.open()
    async with running_fabric(store, clock=clock) as fabric:
        budgets = Budgets(
            fabric.mirror,
            fabric.ledger,
            fabric.parts.accounts,
            fabric.coordinator.costs,
            fabric.breakers.records,
            fabric.fleet.swarms,
            PolicyBook(),
            Outbox(clock, "budgets", ()),
            clock,
        )
        for n in range(5):
            await fabric.coordinator.register_swarm(f"s{n}")
        yield Money(fabric, budgets, clock)
    await store.close()


async def test_g5_pages_list_the_fabric_then_swarms_with_a_limit_or_a_cost(money: Money) -> None:
    for swarm_id in ("s3", "s1"):
        await money.budgets.track_cost(Spent(swarm_id, "rent", 5))
    await money.budgets.set_limit(swarm_account("s2"), Terms(10))
    found = [each.facts.account for each in money.budgets.page("", 100)]
    assert found == ["fabric", "swarm/s1", "swarm/s2", "swarm/s3"]
    paged: list[str] = []
    while page := money.budgets.page(paged[-1] if paged else "", 1):
        paged += [each.facts.account for each in page]
    assert paged == found


async def test_g4_the_soft_share_warns_and_the_limit_exhausts(money: Money) -> None:
    account = swarm_account("s0")
    await money.budgets.set_limit(account, Terms(100, soft_share=0.5))
    states = []
    for micros in (49, 1, 49, 1, 1):
        answer = await money.budgets.track_cost(Spent("s0", "rent", micros))
        states.append(answer.budget.state)
    warned, spent = BudgetState.WARNING, BudgetState.EXHAUSTED
    assert states == [BudgetState.OPEN, warned, warned, spent, spent]
    assert money.budgets.account(account).facts.available_micros == -1
    assert (await money.budgets.set_limit(account, Terms(None))).state is BudgetState.UNLIMITED
    # What was spent stays, and the policy says when it warns if nobody else does.
    report = await money.budgets.set_limit(account, Terms(110))
    assert (report.facts.spent_micros, report.soft_share, report.state) == (101, 0.8, warned)


async def test_g4_a_period_says_when_it_began_and_ends(money: Money) -> None:
    terms = Terms(100, Period.DAY, "Europe/Vienna")
    report = await money.budgets.set_limit(FABRIC, terms)
    now = money.clock.now()
    assert report.period_start is not None
    assert report.renew_time is not None
    assert report.period_start <= now < report.renew_time
    with pytest.raises(InvalidField):
        await money.budgets.set_limit(FABRIC, Terms(100, Period.DAY, "Atlantis/Capital"))


async def test_g4_a_limit_set_again_is_recorded_once(money: Money) -> None:
    for _ in range(3):
        await money.budgets.set_limit(swarm_account("s0"), Terms(100))
    entries = (await money.fabric.store.range("outbox/", limit=100)).kvs
    assert sum("budget_set" in entry.value for entry in entries) == 1


async def test_g5_accounts_of_nobody_are_not_found(money: Money) -> None:
    for asked, reason in (
        (money.budgets.set_limit(swarm_account("nobody"), Terms(1)), Reason.SWARM_NOT_FOUND),
        (money.budgets.limit_task("nothing", 1), Reason.TASK_NOT_FOUND),
        (money.budgets.task("nothing"), Reason.TASK_NOT_FOUND),
    ):
        with pytest.raises(FabricError) as refused:
            await asked
        assert refused.value.reason is reason
    with pytest.raises(FabricError):
        money.budgets.swarm("nobody")
    assert money.budgets.swarm("s4").facts.spent_micros == 0
