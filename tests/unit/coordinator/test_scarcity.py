"""What is refused for want of money, or by the policy, is not asked for again and again."""

from collections.abc import AsyncIterator

import pytest

from infrafabric_server.coordinator.admission import Admission
from infrafabric_server.coordinator.dispatcher import LEFT_SECONDS, RETRY_SECONDS, TURN
from infrafabric_server.coordinator.models import Dispatch
from infrafabric_server.coordinator.scheduler import Assignment, Scheduler
from infrafabric_server.coordinator.shortages import More, Shortages
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.budget.ports import Spent
from infrafabric_server.governor.budget.rules import BudgetFacts
from infrafabric_server.governor.gate import TaskFacts, Violation
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.cases import MAX_TASK_COST
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.models import FABRIC, Budget, Period, swarm_account
from infrafabric_server.store.memory import MemoryStore
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, running_fabric
from tests.harness.replicas import Cluster
from tests.unit.coordinator.money import DOLLAR, board, limit, limit_swarm


class Judge:
    """Counts what it is asked, and refuses everything by a rule while it has the name of one."""

    def __init__(self) -> None:
        self.asked = 0
        self.rule = ""

    def violation(
        self, _task: TaskFacts, _swarm: SwarmProfile, _own: BudgetFacts, _fabric: BudgetFacts
    ) -> Violation | None:
        """See governor.gate.Judge."""
        self.asked += 1
        return Violation(self.rule, "it is forbidden", "abc") if self.rule else None


@pytest.fixture
def judge() -> Judge:
    """Return the judge of the fabric."""
    return Judge()


@pytest.fixture
def policies() -> PolicyBook:
    """Return the policy of the fabric."""
    return PolicyBook()


@pytest.fixture
async def judged(judge: Judge, policies: PolicyBook) -> AsyncIterator[Fabric]:
    """Return a running coordinator with a judge who counts."""
    store = await MemoryStore.open()
    async with running_fabric(store, judge=judge, policies=policies) as running:
        yield running
    await store.close()


def claimed(fabric: Fabric, tasks: int) -> int:
    """Return how many of the tasks of a board are claimed."""
    return sum(fabric.task(f"t{n}").claim is not None for n in range(tasks))


async def test_g4_no_swarm_is_tried_for_what_the_fabric_cannot_pay(
    judged: Fabric, judge: Judge
) -> None:
    for n in range(40):
        await judged.join(f"s{n}")
    await limit(judged, FABRIC, DOLLAR // 2)
    await judged.settled()
    judge.asked = 0
    await board(judged, *[None] * 60, dispatch=Dispatch.AUTO)
    await judged.settled()
    await limit(judged, FABRIC, DOLLAR - 1)
    await judged.settled()
    assert (judge.asked, claimed(judged, 60)) == (0, 0)
    assert judged.parts.scheduler.waiting == 60
    await limit(judged, FABRIC, 5 * DOLLAR)
    await judged.settled()
    assert claimed(judged, 60) == 5
    await limit(judged, FABRIC, None)
    await judged.settled()
    assert claimed(judged, 60) == 40


async def test_g4_the_first_money_is_for_the_task_of_the_highest_priority(judged: Fabric) -> None:
    await judged.join("s", slots=5)
    await limit(judged, FABRIC, DOLLAR // 2)
    await board(judged, DOLLAR, DOLLAR, DOLLAR // 2, dispatch=Dispatch.AUTO)
    await judged.settled()
    assert [judged.task(f"t{n}").claim is not None for n in range(3)] == [False, False, True]
    await limit(judged, FABRIC, DOLLAR * 3 // 2)
    await judged.settled()
    assert [judged.task(f"t{n}").claim is not None for n in range(3)] == [True, False, True]


async def test_g4_a_task_without_money_of_its_own_is_tried_when_it_has_some(
    judged: Fabric, judge: Judge
) -> None:
    await board(judged, DOLLAR, dispatch=Dispatch.AUTO)
    await judged.coordinator.costs.limit_task("t0", DOLLAR - 1)
    for n in range(5):
        await judged.join(f"s{n}")
    await judged.settled()
    assert (judge.asked, claimed(judged, 1)) == (0, 0)
    await judged.coordinator.costs.limit_task("t0", DOLLAR)
    await judged.settled()
    assert claimed(judged, 1) == 1


async def test_g3_one_swarm_is_tried_for_a_task_that_may_not_cost_so_much(
    judged: Fabric, judge: Judge, policies: PolicyBook
) -> None:
    for n in range(40):
        await judged.join(f"s{n}")
    judge.rule, judge.asked = MAX_TASK_COST, 0
    await board(judged, *[None] * 30, dispatch=Dispatch.AUTO)
    await judged.settled()
    # One that is tried at its creation is tried once more when it waits.
    assert 30 <= judge.asked <= 60
    judge.rule = ""
    policies.install(policies.current)
    await judged.settled()
    assert claimed(judged, 30) == 30


async def test_g3_a_rule_that_refuses_all_is_asked_once_for_each_pair_and_some_in_each_turn(
    judged: Fabric, judge: Judge, policies: PolicyBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(40):
        await judged.join(f"s{n}")
    await judged.settled()
    judge.rule, judge.asked = "never", 0
    most: list[int] = []
    settle = Scheduler.settle

    def counted(self: Scheduler, turn: int | None = None) -> list[Assignment]:
        before = judge.asked
        found = settle(self, turn)
        most.append(judge.asked - before)
        return found

    monkeypatch.setattr(Scheduler, "settle", counted)
    await board(judged, *[None] * 30, dispatch=Dispatch.AUTO)
    await judged.settled()
    assert judge.asked == 30 * 40
    assert max(most) < 2 * TURN
    # Nor is anybody asked again who has nothing new to say.
    judged.parts.reactions.refresh("s0")
    await judged.settled()
    assert judge.asked == 30 * 40
    judge.rule = ""
    policies.install(policies.current)
    await judged.settled()
    assert claimed(judged, 30) == 30


async def test_g4_what_a_swarm_draws_from_its_reservation_has_nothing_tried_again(
    judged: Fabric, judge: Judge
) -> None:
    await judged.join("s", slots=50)
    await limit_swarm(judged, "s", 2 * DOLLAR + 500)
    await board(judged, 2 * DOLLAR, *[DOLLAR] * 40, dispatch=Dispatch.AUTO)
    await judged.settled()
    assert claimed(judged, 41) == 1
    judge.asked = 0
    for _ in range(10):
        await judged.coordinator.costs.track(Spent("s", "call", 1000, "t0", 1))
        await judged.settled()
    assert judge.asked == 0
    await judged.coordinator.claims.complete("s", "t0", 1, result_json="{}", cost_micros=0)
    await judged.settled()
    assert judged.task("t1").claim is not None
    assert claimed(judged, 41) == 1


async def test_g4_a_claim_that_only_the_shares_refuse_is_tried_again_after_a_while(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = cluster["anna"].fabric
    shares = anna.parts.shares
    assert shares is not None
    tries = 0

    async def widen(_amount: int) -> bool:
        nonlocal tries
        tries += 1
        # As a share that is asked for in vain.
        await limit(anna, swarm_account("nobody"), tries)
        return False

    await limit(anna, FABRIC, 100 * DOLLAR)
    await board(anna, DOLLAR, dispatch=Dispatch.AUTO)
    await cluster.settled()
    with monkeypatch.context() as patched:
        patched.setattr(shares, "covers", lambda _amount: False)
        patched.setattr(shares, "widen", widen)
        await anna.join("s")
        await cluster.settled()
        assert 1 <= tries <= 3
    await cluster.pass_time(RETRY_SECONDS)
    await cluster.settled()
    assert claimed(anna, 1) == 1


async def test_g4_a_task_finds_a_swarm_when_there_is_money_and_nobody_leads(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    await anna.join("s")
    await limit(anna, FABRIC, DOLLAR // 2)
    await board(anna, DOLLAR, dispatch=Dispatch.AUTO)
    await cluster.settled()
    assert anna.parts.scheduler.deferred == 1
    cluster["anna"].lead(leading=False)
    await limit(anna, FABRIC, DOLLAR)
    await cluster.settled()
    await cluster.pass_time(LEFT_SECONDS)
    await cluster.settled()
    assert claimed(anna, 1) == 1


class TwoClocks(SteppedClock):
    """A clock whose time of day lags behind its timers."""

    lag = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.lag


async def test_g4_a_renewal_that_comes_early_by_the_time_of_day_is_awaited_again() -> None:
    clock = TwoClocks()
    store = await MemoryStore.open()
    async with running_fabric(store, clock=clock) as fabric:
        told: list[tuple[str, More]] = []
        shortages, timers = _shortages(fabric, told)
        budget = Budget(limit_micros=DOLLAR, period=Period.DAY, update_time=clock.now())
        await fabric.mirror.commit([], [fabric.ledger.budgets.put(FABRIC, budget)])
        shortages.note("s", BudgetFacts(FABRIC, DOLLAR, DOLLAR, 0), 2 * DOLLAR)
        left = timers.fire()
        assert left is not None
        clock.lag = left
        again = timers.fire()
        assert again == pytest.approx(left)
        assert told == []
    await store.close()


async def test_a_swarm_that_was_deregistered_lacks_nothing(fabric: Fabric) -> None:
    told: list[tuple[str, More]] = []
    shortages, _ = _shortages(fabric, told)
    await limit(fabric, FABRIC, 1)
    for swarm_id in ("gone", "here"):
        shortages.note(swarm_id, BudgetFacts(FABRIC, 1, 0, 0), DOLLAR)
    shortages.forget("gone")
    await limit(fabric, FABRIC, DOLLAR)
    assert told == [("here", More.ENOUGH)]


async def test_a_deregistration_has_what_the_swarm_lacks_forgotten(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[str] = []
    monkeypatch.setattr(Admission, "forget", lambda _self, swarm_id: forgotten.append(swarm_id))
    await fabric.join("s")
    await fabric.coordinator.registration.deregister("s")
    assert forgotten == ["s"]


def _shortages(fabric: Fabric, told: list[tuple[str, More]]) -> tuple[Shortages, Timers]:
    """Return shortages of their own over the ledger of a fabric, which note what they tell."""
    timers = Timers(fabric.clock)
    ledger: Ledger = fabric.ledger
    shortages = Shortages(ledger, Accounts(ledger, fabric.clock), timers, fabric.clock)
    shortages.connect(fabric.coordinator.tasks, lambda *more: told.append(more))
    return shortages, timers
