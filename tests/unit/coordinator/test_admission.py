"""G4: a claim reserves what it may spend, and none is admitted that an account does not cover."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from infrafabric_server.coordinator import slots
from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.models import FailureKind, Refusal
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.gate import (
    Barrier,
    BudgetFacts,
    Closed,
    TaskFacts,
    Violation,
)
from infrafabric_server.optimise.models import FABRIC, swarm_account
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Compare, Delete, Op, StoreUnavailable, TxnResult
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, running_fabric
from tests.unit.coordinator.money import (
    DOLLAR,
    board,
    claim,
    complete,
    limit,
    limit_swarm,
    most_reserved,
    reserved,
)


@pytest.fixture
async def swarm(fabric: Fabric) -> Fabric:
    """Return a fabric with a swarm `s` that has many slots."""
    await fabric.join("s", slots=50)
    return fabric


async def test_g4_a_claim_reserves_the_tasks_max_cost_or_the_policys_default(swarm: Fabric) -> None:
    await board(swarm, 300_000, None)
    for task_id in ("t0", "t1"):
        assert (await claim(swarm, task_id)).claimed
    claims = [swarm.task(task_id).claim for task_id in ("t0", "t1")]
    assert [each.reserved_micros for each in claims if each] == [300_000, DOLLAR]
    assert await reserved(swarm.store, "s") == 1_300_000


async def test_g4_a_claim_needs_as_much_as_the_task_may_cost_and_is_told_the_numbers(
    swarm: Fabric,
) -> None:
    await limit_swarm(swarm, "s", 5 * DOLLAR)
    await board(swarm, 3 * DOLLAR, 2 * DOLLAR + 1, 2 * DOLLAR, 0)
    assert (await claim(swarm, "t0")).claimed
    refused = await claim(swarm, "t1")
    assert refused.refusal is Refusal.BUDGET
    assert refused.detail == (
        "the claim asks for 2.000001 USD, and account swarm/s has 2.00 USD available: "
        "limit 5.00 USD, spent 0.00 USD, reserved 3.00 USD"
    )
    assert (await claim(swarm, "t2")).claimed
    # All is reserved: what costs nothing is refused as well.
    assert (await claim(swarm, "t3")).refusal is Refusal.BUDGET


async def test_g4_a_completion_gives_back_what_it_did_not_spend(swarm: Fabric) -> None:
    await limit_swarm(swarm, "s", 2 * DOLLAR)
    await board(swarm, 2 * DOLLAR, DOLLAR, DOLLAR + 1)
    assert (await claim(swarm, "t0")).claimed
    await complete(swarm, "t0", DOLLAR)
    assert (await claim(swarm, "t2")).refusal is Refusal.BUDGET
    assert (await claim(swarm, "t1")).claimed


async def test_g4_what_a_failed_attempt_did_not_spend_can_be_reserved_again(swarm: Fabric) -> None:
    await limit_swarm(swarm, "s", DOLLAR)
    await board(swarm, DOLLAR, DOLLAR)
    assert (await claim(swarm, "t0")).claimed
    assert (await claim(swarm, "t1")).refusal is Refusal.BUDGET
    await swarm.coordinator.claims.fail(
        "s", "t0", 1, reason="no", kind=FailureKind.PERMANENT, retry_time=None
    )
    assert (await claim(swarm, "t1")).claimed


async def test_g4_the_fabrics_limit_holds_for_all_swarms_together(swarm: Fabric) -> None:
    await swarm.join("u", slots=5)
    await limit(swarm, FABRIC, 2 * DOLLAR)
    await board(swarm, DOLLAR, DOLLAR, DOLLAR)
    assert (await claim(swarm, "t0", "s")).claimed
    assert (await claim(swarm, "t1", "u")).claimed
    refused = await claim(swarm, "t2", "u")
    assert (refused.refusal, "account fabric" in refused.detail) == (Refusal.BUDGET, True)


async def test_g4_a_tasks_own_limit_counts_all_its_attempts(swarm: Fabric) -> None:
    await board(swarm, DOLLAR)
    await swarm.coordinator.costs.limit_task("t0", DOLLAR - 1)
    refused = await claim(swarm, "t0")
    assert (refused.refusal, "account task/t0" in refused.detail) == (Refusal.BUDGET, True)
    await swarm.coordinator.costs.limit_task("t0", DOLLAR)
    assert (await claim(swarm, "t0")).claimed


async def test_g4_no_limit_is_unlimited_and_a_limit_of_nothing_admits_nothing(
    swarm: Fabric,
) -> None:
    await board(swarm, 10**12, 0)
    assert (await claim(swarm, "t0")).claimed
    await limit_swarm(swarm, "s", 0)
    assert (await claim(swarm, "t1")).refusal is Refusal.BUDGET
    await limit_swarm(swarm, "s", None)
    assert (await claim(swarm, "t1")).claimed


@pytest.mark.parametrize("account", [swarm_account("s"), FABRIC])
async def test_g4_hundreds_of_claimers_at_once_never_reserve_more_than_there_is(
    swarm: Fabric, account: str
) -> None:
    await swarm.coordinator.registration.deregister("s")
    for n in range(8):
        await swarm.join(f"s{n}", slots=50)
    names = ["s0"] * 300 if account != FABRIC else [f"s{n % 8}" for n in range(300)]
    if account != FABRIC:
        account = swarm_account("s0")
    await limit(swarm, account, 30 * DOLLAR)
    await board(swarm, *[DOLLAR] * 300)
    over = asyncio.Event()
    watching = asyncio.create_task(most_reserved(swarm.store, over))
    outcomes = await asyncio.gather(*(claim(swarm, f"t{n}", name) for n, name in enumerate(names)))
    over.set()
    assert sum(outcome.claimed for outcome in outcomes) == 30
    assert {outcome.refusal for outcome in outcomes} == {None, Refusal.BUDGET}
    assert await watching == 30 * DOLLAR


async def test_g4_a_claim_waits_for_those_that_may_fail_before_it_is_refused(
    swarm: Fabric,
) -> None:
    await swarm.join("u", slots=5)
    await limit(swarm, FABRIC, DOLLAR)
    await board(swarm, DOLLAR, DOLLAR)
    # One of the two fails on the task that both want, and the money is there for the third.
    outcomes = await asyncio.gather(
        claim(swarm, "t0", "s"), claim(swarm, "t0", "u"), return_exceptions=False
    )
    assert sum(outcome.claimed for outcome in outcomes) == 1
    lost = next(outcome for outcome in outcomes if not outcome.claimed)
    assert lost.refusal in (Refusal.ALREADY_CLAIMED, Refusal.LOST_RACE, Refusal.BUDGET)


class SlowStore(MemoryStore):
    """Takes its time for the next transaction that writes when it is told to."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.slow = False
        self.held, self.answer = asyncio.Event(), asyncio.Event()

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        if self.slow:
            self.slow = False
            self.held.set()
            await self.answer.wait()
        return await super().txn(compares, success, failure)


@asynccontextmanager
async def one_written_slowly(limits: dict[str, int]) -> AsyncIterator[tuple[SlowStore, Fabric]]:
    """Have `u` claim `t0` until the store may answer, with limits set before."""
    store = await SlowStore.open()
    async with running_fabric(store) as fabric:
        for swarm_id in ("s", "u"):
            await fabric.join(swarm_id, slots=5)
        for account, micros in limits.items():
            await limit(fabric, account, micros)
        await board(fabric, DOLLAR, DOLLAR)
        store.slow = True
        async with asyncio.TaskGroup() as group:
            group.create_task(claim(fabric, "t0", "u"))
            await store.held.wait()
            try:
                yield store, fabric
            finally:
                store.answer.set()
    await store.close()


@pytest.mark.parametrize("account", [swarm_account("s"), "task/t1"])
async def test_g4_a_claim_that_nothing_can_help_does_not_wait_for_others(account: str) -> None:
    limits = {swarm_account("s"): 0} if account != "task/t1" else {}
    async with one_written_slowly(limits) as (store, fabric):
        if not limits:
            await fabric.coordinator.costs.limit_task("t1", DOLLAR - 1)
        async with asyncio.timeout(1):
            refused = await claim(fabric, "t1", "s")
        assert refused.refusal is Refusal.BUDGET
        assert f"account {account} has" in refused.detail
        assert not store.answer.is_set()


async def test_g4_a_claim_waits_for_one_that_fails() -> None:
    async with one_written_slowly({FABRIC: DOLLAR}) as (store, fabric):
        waiting = asyncio.create_task(claim(fabric, "t1", "s"))
        await store.txn([], [Delete(fabric.fleet.swarms.key("u"))])
        assert not waiting.done()
        store.answer.set()
        assert (await waiting).claimed


async def test_g4_a_claim_waits_for_others_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_PATIENCE_SECONDS", 0.05)
    async with one_written_slowly({FABRIC: DOLLAR}) as (store, fabric):
        assert (await claim(fabric, "t1", "s")).refusal is Refusal.BUDGET
        assert not store.answer.is_set()


class LosingStore(MemoryStore):
    """Loses the answer to a transaction when it is told to, applied or not."""

    lose: bool | None = None

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        if self.lose is False:
            self.lose = None
            raise StoreUnavailable("nobody knows")
        result = await super().txn(compares, success, failure)
        if self.lose is True:
            self.lose = None
            raise StoreUnavailable("nobody knows")
        return result


@pytest.mark.parametrize("applied", [True, False])
async def test_g4_a_claim_of_unknown_outcome_stays_reserved_until_it_is_known(
    applied: bool,
) -> None:
    clock = SteppedClock()
    store = await LosingStore.open()
    async with running_fabric(store, clock=clock, limits=Limits(lease=3600.0)) as fabric:
        await fabric.join("s", slots=5)
        await limit_swarm(fabric, "s", DOLLAR)
        await board(fabric, DOLLAR, DOLLAR)
        store.lose = applied
        with pytest.raises(StoreUnavailable):
            await claim(fabric, "t0")
        assert (await claim(fabric, "t1")).refusal is Refusal.BUDGET
        await clock.advance(31.0)
        fabric.parts.timers.fire()
        await fabric.settled()
        assert (await claim(fabric, "t1")).claimed is not applied
        assert await reserved(store, "s") == DOLLAR
    await store.close()


class Shut:
    """A gate that is shut for some swarms."""

    def __init__(self) -> None:
        self.closes: dict[str, Closed] = {}

    def closed(self, swarm_id: str) -> Closed | None:
        return self.closes.get(swarm_id)

    def compares(self, _swarm_id: str) -> list[Compare]:
        return []


class Strict:
    """A judge who allows nothing of some tasks, and notes what it was asked."""

    def __init__(self) -> None:
        self.forbidden: set[str] = set()
        self.asked: list[tuple[TaskFacts, BudgetFacts]] = []

    def violation(
        self, task: TaskFacts, _swarm: SwarmProfile, budget: BudgetFacts, _fabric: BudgetFacts
    ) -> Violation | None:
        self.asked.append((task, budget))
        return (
            Violation("never", "it is forbidden", "abc") if task.task_id in self.forbidden else None
        )


async def test_g4_refusals_come_in_their_order() -> None:
    gate, judge = Shut(), Strict()
    judge.forbidden.add("t0")
    store = await MemoryStore.open()
    async with running_fabric(store, gate=gate, judge=judge) as fabric:
        await fabric.join("s")
        await limit_swarm(fabric, "s", DOLLAR)
        await board(fabric, 2 * DOLLAR, 0)
        assert (await claim(fabric, "t1")).claimed
        refusals = []
        gate.closes["s"] = Closed(Barrier.HOLD, "the fabric is held")
        refusals.append(await claim(fabric, "t0"))
        gate.closes["s"] = Closed(Barrier.BREAKER_OPEN, "it spent too much")
        refusals.append(await claim(fabric, "t0"))
        del gate.closes["s"]
        refusals.append(await claim(fabric, "t0"))
        judge.forbidden.clear()
        refusals.append(await claim(fabric, "t0"))
        await limit_swarm(fabric, "s", None)
        refusals.append(await claim(fabric, "t0"))
        assert [each.refusal for each in refusals] == [
            Refusal.HOLD,
            Refusal.BREAKER_OPEN,
            Refusal.POLICY,
            Refusal.BUDGET,
            Refusal.NO_SLOT,
        ]
        assert refusals[0].detail == "the fabric is held"
        assert refusals[2].detail == "rule never of policy abc: it is forbidden"
        assert judge.asked[-1][0].amount_micros == 2 * DOLLAR
        assert judge.asked[-1][0].attempt == 1
    await store.close()
