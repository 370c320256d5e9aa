"""G2: an assignment by hand that finds nobody counts the swarms that each rule left out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infrafabric_server.coordinator.models import Dispatch
from infrafabric_server.coordinator.placing import Placed
from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.governor.models import ExclusionRule
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Policy
from infrafabric_server.governor.policy.verdicts import effective
from infrafabric_server.optimise.models import Budget, swarm_account
from infrafabric_server.store.memory import MemoryStore
from tests.harness.fabric import Fabric, new_task, running_fabric

NEEDS = {"x"}
DENY = {"name": "interns", "when": 'swarm.id == "intern"', "deny": "interns touch nothing"}


async def limit(fabric: Fabric, account: str, micros: int) -> None:
    """Set what an account may spend."""
    budget = Budget(limit_micros=micros, update_time=datetime.now(UTC))
    await fabric.mirror.commit([], [fabric.ledger.budgets.put(account, budget)])
    await fabric.settled()


async def assign(fabric: Fabric, task_id: str = "t") -> Placed:
    """Assign a task by hand."""
    return await fabric.coordinator.placing.assign(task_id)


async def test_g2_every_rule_is_counted_and_a_swarm_only_once() -> None:
    store = await MemoryStore.open()
    book = PolicyBook()
    book.install(effective(Policy.model_validate({"rules": [DENY]}), "cafe"))
    async with running_fabric(store, policies=book, judge=book) as fabric:
        spec, dispatch = new_task("t", needs=NEEDS, dispatch=Dispatch.MANUAL)
        spec = spec.model_copy(
            update={"max_cost_micros": 3_000_000, "estimated_duration": timedelta(hours=1)}
        )
        await fabric.create((spec, dispatch))
        await fabric.join("unable", {"y"})
        await fabric.join("too-dear", NEEDS, cost=3_000_001)
        await fabric.join("halted", NEEDS)
        await fabric.breakers.trip("halted", BreakerCause.MANUAL, "it repeats itself")
        await fabric.join("poor", NEEDS)
        await limit(fabric, swarm_account("poor"), 2_999_999)
        await fabric.join("intern", NEEDS)
        await fabric.join("busy", NEEDS)
        await fabric.create(new_task("other", needs=NEEDS, dispatch=Dispatch.MANUAL))
        assert (await fabric.coordinator.claim_task("busy", "other")).claimed
        await fabric.coordinator.register_swarm("absent", frozenset(NEEDS))
        await fabric.join("watcher", NEEDS, role=SessionRole.ORCHESTRATOR)
        placed = await assign(fabric)
        assert placed.match is None
        assert placed.exclusion_counts == {
            ExclusionRule.CAPABILITY: 1,
            ExclusionRule.COST: 1,
            ExclusionRule.BREAKER: 1,
            ExclusionRule.BUDGET: 1,
            ExclusionRule.POLICY: 1,
            ExclusionRule.NO_SLOT: 1,
            ExclusionRule.NO_SESSION: 2,
        }
        await limit(fabric, swarm_account("poor"), 3_000_000)
        placed = await assign(fabric)
        assert placed.match is not None
        assert (placed.match.swarm_id, placed.exclusion_counts) == ("poor", {})
    await store.close()


async def test_g2_the_account_of_the_task_is_a_budget_too(fabric: Fabric) -> None:
    await fabric.join("able", NEEDS)
    await fabric.create(new_task("t", needs=NEEDS, dispatch=Dispatch.MANUAL))
    await fabric.coordinator.costs.limit_task("t", 999_999)
    assert (await assign(fabric)).exclusion_counts == {ExclusionRule.BUDGET: 1}
    await fabric.coordinator.costs.limit_task("t", 1_000_000)
    assert (await assign(fabric)).match is not None


async def test_g2_who_gave_the_task_back_has_no_session_that_takes_it(fabric: Fabric) -> None:
    link = await fabric.join("picky", NEEDS)
    await fabric.create(new_task("t", needs=NEEDS, dispatch=Dispatch.MANUAL))
    assert (await assign(fabric)).match is not None
    await fabric.coordinator.placing.decline(link, "t", 1)
    await fabric.settled()
    assert (await assign(fabric)).exclusion_counts == {ExclusionRule.NO_SESSION: 1}


async def test_g2_without_any_swarm_there_is_nobody_to_count(fabric: Fabric) -> None:
    await fabric.create(new_task("t", dispatch=Dispatch.MANUAL))
    placed = await assign(fabric)
    assert (placed.match, placed.exclusion_counts) == (None, {})


@pytest.mark.parametrize("metric", ["jaccard", "coverage"])
async def test_g1_the_scheduler_matches_by_the_policy_of_the_moment(metric: str) -> None:
    """G1: a task that waits finds its swarm once the policy says that it is the right one."""
    store = await MemoryStore.open()
    book = PolicyBook()
    async with running_fabric(store, policies=book, judge=book) as fabric:
        await fabric.create(new_task("waits", needs={"x"}))
        policy = Policy.model_validate({"matching": {"metric": metric}})
        book.install(replace(book.current, policy=policy))
        await fabric.join("broad", {"x", "y", "z"})
        await fabric.settled()
        claim = fabric.task("waits").claim
        assert (claim is not None) is (metric == "coverage")
    await store.close()
