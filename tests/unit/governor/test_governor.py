"""G1, G2: find_qualified_swarm over what is registered in the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from infrafabric_server.clock import SystemClock
from infrafabric_server.errors import InvalidField, Reason
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.governor import Governor
from infrafabric_server.governor.matching import Metric
from infrafabric_server.governor.models import ExclusionRule, Page
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Policy
from infrafabric_server.governor.policy.verdicts import effective
from infrafabric_server.governor.roster import Roster
from infrafabric_server.governor.screening import Screening
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.models import Budget
from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.witness.outbox import Outbox

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Slots(dict[str, int]):
    """How many slots swarms have that do not have one."""

    def free_slots(self, swarm_id: str) -> int:
        """Return the free slots of a swarm."""
        return self.get(swarm_id, 1)


@dataclass(frozen=True, slots=True)
class World:
    """A governor over a store, with the roster that it keeps."""

    governor: Governor
    roster: Roster
    fleet: Fleet
    mirror: Mirror
    ledger: Ledger
    accounts: Accounts
    breakers: Breakers
    policies: PolicyBook
    slots: Slots

    async def register(
        self, swarm_id: str, capabilities: str, cost: int = 0, model: str = ""
    ) -> None:
        """Write the registration of a swarm with capabilities of one letter each."""
        profile = SwarmProfile(
            swarm_id=swarm_id,
            capabilities=frozenset(capabilities),
            cost_per_hour_micros=cost,
            model=model,
            create_time=NOON,
            update_time=NOON,
        )
        await self.mirror.commit([], [self.fleet.swarms.put(swarm_id, profile)])

    async def limit(self, account: str, micros: int) -> None:
        """Set what an account may spend."""
        budget = Budget(limit_micros=micros, update_time=NOON)
        await self.mirror.commit([], [self.ledger.budgets.put(account, budget)])

    def rule(self, **settings: Any) -> None:
        """Put a policy in force that has some settings."""
        self.policies.install(effective(Policy.model_validate(settings), "cafe"))

    async def deregister(self, swarm_id: str) -> None:
        """Remove a registration."""
        await self.mirror.commit([], [self.fleet.swarms.delete(swarm_id)])

    async def best(self, required: str, max_cost: int | None = None, **options: Any) -> str | None:
        """Return the id of the best swarm."""
        found = await self.governor.find_qualified_swarm(frozenset(required), max_cost, **options)
        best = found.best
        return None if best is None else best.swarm_id


@asynccontextmanager
async def running(data: MemoryData | None = None) -> AsyncIterator[World]:
    """Run a governor over the store."""
    store = await MemoryStore.open(data)
    mirror = Mirror(store)
    fleet = Fleet(mirror)
    roster = Roster()
    clock = SystemClock()
    ledger = Ledger(mirror, clock)
    accounts, policies, slots = Accounts(ledger, clock), PolicyBook(), Slots()
    breakers = Breakers.over(mirror, fleet, ledger, Outbox(clock, "test", ()), clock, policies)
    screening = Screening(fleet.swarms, breakers.gate, accounts, policies, slots)
    governor = Governor(fleet.swarms, roster, screening, policies)
    await mirror.start()
    yield World(governor, roster, fleet, mirror, ledger, accounts, breakers, policies, slots)
    governor.close()
    await mirror.close()
    await store.close()


async def test_g1_registrations_are_followed_as_they_come_change_and_go() -> None:
    async with running() as world:
        assert await world.best("abcd") is None
        await world.register("one", "abcd", cost=3)
        await world.register("two", "abcde", cost=2)
        assert await world.best("abcd") == "two"
        await world.register("two", "xyz", cost=2)
        assert (await world.best("abcd"), await world.best("xyz")) == ("one", "two")
        await world.deregister("one")
        assert (await world.best("abcd"), len(world.roster)) == (None, 1)


async def test_g1_registrations_are_there_after_a_restart() -> None:
    data = MemoryData()
    async with running(data) as world:
        await world.register("one", "abcd", cost=3, model="large")
    async with running(data) as world:
        assert await world.best("abcd", 3) == "one"
        world.roster.set_free("one", 1.0)
        late = Roster()
        screening = Screening(
            world.fleet.swarms, world.breakers.gate, world.accounts, world.policies, world.slots
        )
        Governor(world.fleet.swarms, late, screening, world.policies).close()
        assert late.qualifies("one", frozenset("abcd"))
        await world.register("two", "abcd")
        assert "two" not in late, "a closed governor follows nothing"


async def test_g8_an_override_for_a_capability_decides_who_qualifies_for_it() -> None:
    async with running() as world:
        await world.register("one", "abcdef")
        world.rule(overrides=[{"capability": "a", "matching": {"metric": "coverage"}}])
        assert (await world.best("ab"), await world.best("bc")) == ("one", None)
        assert await world.best("ab", metric=Metric.JACCARD) is None, "a request may say another"
        lenient = {"metric": "coverage", "min_match": 0.5}
        world.rule(overrides=[{"capability": "[xb]", "matching": lenient}])
        assert await world.best("bx") == "one"


async def test_g1_a_swarm_without_a_session_qualifies_but_waits_last() -> None:
    async with running() as world:
        await world.register("absent", "ab")
        await world.register("free", "ab")
        world.roster.set_free("free", 5.0)
        assert await world.best("ab") == "free"
        world.roster.set_free("free", None)
        assert await world.best("ab") == "absent"


async def test_g1_max_cost_is_the_most_that_an_hour_may_cost() -> None:
    async with running() as world:
        await world.register("one", "ab", cost=100)
        assert [await world.best("ab", cost) for cost in (None, 100, 99, 0)] == [
            "one",
            "one",
            None,
            None,
        ]
        await world.register("free", "ab", cost=0)
        assert await world.best("ab", 0) == "free"


async def test_g2_nothing_is_explained_unless_it_is_asked_for() -> None:
    async with running() as world:
        await world.register("one", "ab")
        await world.register("two", "xy")
        found = await world.governor.find_qualified_swarm({"a", "b"})
        assert found.best is not None
        assert (found.candidates, found.excluded, found.exclusion_counts) == ((), (), {})


async def test_g2_every_swarm_is_a_candidate_or_left_out_by_a_rule() -> None:
    async with running() as world:
        for number in range(25):
            await world.register(f"fit-{number:02}", "abcd", cost=10 + number)
            await world.register(f"dear-{number:02}", "abcd", cost=1_000 + number)
            await world.register(f"unable-{number:02}", "abyz", cost=number)
        pages = []
        after = ""
        while True:
            found = await world.governor.find_qualified_swarm(
                ["a", "b", "c", "d"], 999, explain=Page(after=after)
            )
            assert [c.swarm_id for c in found.candidates] == [f"fit-{n:02}" for n in range(20)]
            assert [c.rank for c in found.candidates] == list(range(1, 21))
            assert found.best == found.candidates[0]
            assert found.exclusion_counts == {ExclusionRule.CAPABILITY: 25, ExclusionRule.COST: 25}
            pages.append(found.excluded)
            after = found.next_after
            if not after:
                break
        assert [len(page) for page in pages] == [20, 20, 10]
        excluded = [each for page in pages for each in page]
        assert [each.swarm_id for each in excluded] == sorted(
            f"{kind}-{number:02}" for kind in ("dear", "unable") for number in range(25)
        )
        dear, unable = excluded[0], excluded[-1]
        assert (dear.rule, dear.match) == (ExclusionRule.COST, 1.0)
        assert dear.detail == "costs 0.001 USD an hour, above the 0.000999 USD allowed"
        assert (unable.rule, unable.match) == (ExclusionRule.CAPABILITY, 2 / 6)
        assert unable.detail == (
            "shares 2 of the 6 capabilities that either has: match 0.333 is below 0.7"
        )


async def test_g2_the_last_page_that_is_full_has_no_next_one() -> None:
    async with running() as world:
        for number in range(4):
            await world.register(f"unable-{number}", "z")
        found = await world.governor.find_qualified_swarm("a", explain=Page(limit=4))
        assert (len(found.excluded), found.next_after) == (4, "")


async def test_g1_more_than_64_capabilities_are_refused() -> None:
    async with running() as world:
        with pytest.raises(InvalidField) as caught:
            await world.governor.find_qualified_swarm([str(n) for n in range(65)])
        assert caught.value.reason is Reason.INVALID_FIELD
        assert caught.value.fields[0].field == "required_capabilities"


async def test_g1_a_changed_policy_counts_from_the_next_question_on() -> None:
    async with running() as world:
        await world.register("broad", "abcdefgh", cost=1)
        assert await world.best("abcd") is None
        world.rule(matching={"metric": "coverage"})
        assert await world.best("abcd") == "broad"
        world.rule(matching={"min_match": 0.5})
        assert await world.best("abcd") == "broad"
        world.rule()
        assert await world.best("abcd") is None


async def test_g1_a_request_names_its_metric_and_keeps_the_threshold_of_the_policy() -> None:
    async with running() as world:
        await world.register("broad", "abcdefgh", cost=1)
        world.rule(matching={"metric": "coverage", "min_match": 0.5})
        assert await world.best("abxy", metric=Metric.COVERAGE) == "broad"
        assert await world.best("abxyz", metric=Metric.COVERAGE) is None
        assert await world.best("abcd", metric=Metric.JACCARD) == "broad"
        assert await world.best("abc", metric=Metric.JACCARD) is None
