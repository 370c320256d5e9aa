"""G2: swarms that may not be given a task now are left out, by the first rule that says so."""

import pytest

from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.governor.models import Exclusion, ExclusionRule, Page
from infrafabric_server.governor.qualifying import MAX_CANDIDATES
from tests.unit.governor.test_governor import World, running

REST = [
    ExclusionRule.BREAKER,
    ExclusionRule.BUDGET,
    ExclusionRule.POLICY,
    ExclusionRule.NO_SLOT,
]


async def bring_about(world: World, rule: ExclusionRule, swarm_id: str) -> None:
    """Make a rule apply to a swarm."""
    match rule:
        case ExclusionRule.BREAKER:
            await world.breakers.trip(swarm_id, BreakerCause.MANUAL, "it repeats itself")
        case ExclusionRule.BUDGET:
            await world.limit(f"swarm/{swarm_id}", 4_999_999)
        case ExclusionRule.POLICY:
            when = f'swarm.id == "{swarm_id}"'
            world.rule(rules=[{"name": "interns", "when": when, "deny": "interns touch nothing"}])
        case ExclusionRule.NO_SLOT:
            world.slots[swarm_id] = 0


DETAILS = {
    ExclusionRule.BREAKER: "it repeats itself",
    ExclusionRule.BUDGET: "the claim asks for 5.00 USD, and account swarm/best has "
    "4.999999 USD available: limit 4.999999 USD, spent 0.00 USD, reserved 0.00 USD",
    ExclusionRule.POLICY: "rule interns: interns touch nothing",
    ExclusionRule.NO_SLOT: "works on as many tasks at once as it may: 1",
}


@pytest.mark.parametrize("rule", REST)
async def test_g2_each_rule_leaves_a_swarm_out_with_its_numbers(rule: ExclusionRule) -> None:
    async with running() as world:
        await world.register("best", "ab", cost=1)
        await world.register("next", "ab", cost=2)
        ask = world.governor.find_qualified_swarm
        assert await world.best("ab", max_task_cost=5_000_000) == "best"
        await bring_about(world, rule, "best")
        assert await world.best("ab", max_task_cost=5_000_000) == "next", "also unexplained"
        found = await ask("ab", max_task_cost=5_000_000, explain=Page())
        assert [each.swarm_id for each in found.candidates] == ["next"]
        (left_out,) = found.excluded
        assert (left_out.swarm_id, left_out.rule, left_out.match) == ("best", rule, 1.0)
        assert DETAILS[rule] in left_out.detail
        assert found.exclusion_counts == {rule: 1}


async def test_g2_the_first_rule_is_the_one_that_is_named() -> None:
    """All rules apply to the swarm; as each is lifted, the next one is named."""
    async with running() as world:
        await world.register("one", "ab", cost=10)
        for rule in REST:
            await bring_about(world, rule, "one")

        async def named(required: str, cap: int) -> ExclusionRule | None:
            found = await world.governor.find_qualified_swarm(
                required, cap, max_task_cost=5_000_000, explain=Page()
            )
            return found.excluded[0].rule if found.excluded else None

        assert await named("xyz", 9) is ExclusionRule.CAPABILITY
        assert await named("ab", 9) is ExclusionRule.COST
        assert await named("ab", 10) is ExclusionRule.BREAKER
        await world.breakers.reset("one", "Ada", "it was told to stop")
        assert await named("ab", 10) is ExclusionRule.BUDGET
        await world.limit("swarm/one", 5_000_000)
        assert await named("ab", 10) is ExclusionRule.POLICY
        world.rule()
        assert await named("ab", 10) is ExclusionRule.NO_SLOT
        world.slots.clear()
        assert await named("ab", 10) is None


async def test_g2_without_a_cost_the_default_of_the_policy_must_be_covered() -> None:
    async with running() as world:
        await world.register("one", "ab")
        await world.limit("swarm/one", 999_999)
        assert await world.best("ab") is None
        assert await world.best("ab", max_task_cost=999_999) == "one"
        world.rule(budgets={"default_task_cost_micros": 999_999})
        assert await world.best("ab") == "one"


async def test_g2_a_hold_and_the_budget_of_the_fabric_leave_everybody_out() -> None:
    async with running() as world:
        for number in range(3):
            await world.register(f"swarm-{number}", "ab")
        await world.limit("fabric", 0)
        found = await world.governor.find_qualified_swarm("ab", max_task_cost=0, explain=Page())
        assert (found.best, found.exclusion_counts) == (None, {ExclusionRule.BUDGET: 3})
        assert "account fabric has 0.00 USD available" in found.excluded[0].detail
        await world.breakers.trip("", BreakerCause.MANUAL, "the building is on fire")
        found = await world.governor.find_qualified_swarm("ab", explain=Page())
        assert found.exclusion_counts == {ExclusionRule.BREAKER: 3}
        assert "the building is on fire" in found.excluded[0].detail


async def test_g2_the_best_is_found_behind_any_number_that_are_refused() -> None:
    async with running() as world:
        for number in range(300):
            await world.register(f"busy-{number:03}", "ab", cost=1 + number)
            world.slots[f"busy-{number:03}"] = 0
        assert await world.best("ab") is None
        await world.register("last", "ab", cost=1_000)
        assert await world.best("ab") == "last"


async def test_g2_pages_mix_all_rules_by_id_and_every_swarm_is_in_one_place() -> None:
    async with running() as world:
        rules = [ExclusionRule.CAPABILITY, ExclusionRule.NO_SLOT, None]
        expected = {}
        for number in range(90):
            rule = rules[number % 3]
            swarm_id = f"swarm-{number * 37 % 90:02}"
            expected[swarm_id] = rule
            await world.register(swarm_id, "yz" if rule is ExclusionRule.CAPABILITY else "ab")
            world.slots[swarm_id] = 0 if rule is ExclusionRule.NO_SLOT else 1
        seen: list[Exclusion] = []
        after = ""
        while True:
            found = await world.governor.find_qualified_swarm(
                "ab", explain=Page(after=after, limit=7)
            )
            assert len(found.candidates) == MAX_CANDIDATES
            assert all(expected[each.swarm_id] is None for each in found.candidates)
            assert found.exclusion_counts == {rule: 30 for rule in rules if rule is not None}
            seen += found.excluded
            after = found.next_after
            if not after:
                break
        assert [(each.swarm_id, each.rule) for each in seen] == sorted(
            (swarm_id, rule) for swarm_id, rule in expected.items() if rule is not None
        )
