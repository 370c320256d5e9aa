"""G1, G2: find_qualified_swarm over what is registered in the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from infrafabric_server.errors import InvalidField, Reason
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.governor import Governor
from infrafabric_server.governor.models import ExclusionRule
from infrafabric_server.governor.roster import Roster
from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.store.mirror import Mirror

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class World:
    """A governor over a store, with the roster that it keeps."""

    governor: Governor
    roster: Roster
    fleet: Fleet
    mirror: Mirror

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

    async def deregister(self, swarm_id: str) -> None:
        """Remove a registration."""
        await self.mirror.commit([], [self.fleet.swarms.delete(swarm_id)])

    def best(self, required: str, max_cost: int | None = None) -> str | None:
        """Return the id of the best swarm."""
        best = self.governor.find_qualified_swarm(frozenset(required), max_cost).best
        return None if best is None else best.swarm_id


@asynccontextmanager
async def running(data: MemoryData | None = None) -> AsyncIterator[World]:
    """Run a governor over the store."""
    store = await MemoryStore.open(data)
    mirror = Mirror(store)
    fleet = Fleet(mirror)
    roster = Roster()
    governor = Governor(fleet.swarms, roster)
    await mirror.start()
    yield World(governor, roster, fleet, mirror)
    governor.close()
    await mirror.close()
    await store.close()


async def test_g1_registrations_are_followed_as_they_come_change_and_go() -> None:
    async with running() as world:
        assert world.best("abcd") is None
        await world.register("one", "abcd", cost=3)
        await world.register("two", "abcde", cost=2)
        assert world.best("abcd") == "two"
        await world.register("two", "xyz", cost=2)
        assert (world.best("abcd"), world.best("xyz")) == ("one", "two")
        await world.deregister("one")
        assert (world.best("abcd"), len(world.roster)) == (None, 1)


async def test_g1_registrations_are_there_after_a_restart() -> None:
    data = MemoryData()
    async with running(data) as world:
        await world.register("one", "abcd", cost=3, model="large")
    async with running(data) as world:
        assert world.best("abcd", 3) == "one"
        world.roster.set_free("one", 1.0)
        late = Roster()
        Governor(world.fleet.swarms, late).close()
        assert late.qualifies("one", frozenset("abcd"))
        await world.register("two", "abcd")
        assert "two" not in late, "a closed governor follows nothing"


async def test_g1_a_swarm_without_a_session_qualifies_but_waits_last() -> None:
    async with running() as world:
        await world.register("absent", "ab")
        await world.register("free", "ab")
        world.roster.set_free("free", 5.0)
        assert world.best("ab") == "free"
        world.roster.set_free("free", None)
        assert world.best("ab") == "absent"


async def test_g1_max_cost_is_the_most_that_an_hour_may_cost() -> None:
    async with running() as world:
        await world.register("one", "ab", cost=100)
        assert [world.best("ab", cost) for cost in (None, 100, 99, 0)] == ["one", "one", None, None]
        await world.register("free", "ab", cost=0)
        assert world.best("ab", 0) == "free"


async def test_g2_nothing_is_explained_unless_it_is_asked_for() -> None:
    async with running() as world:
        await world.register("one", "ab")
        await world.register("two", "xy")
        found = world.governor.find_qualified_swarm({"a", "b"})
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
            found = world.governor.find_qualified_swarm(
                ["a", "b", "c", "d"], 999, explain=True, after=after, limit=20
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
        assert dear.detail == "costs 1000 micro-US-dollars an hour, above the 999 allowed"
        assert (unable.rule, unable.match) == (ExclusionRule.CAPABILITY, 2 / 6)
        assert unable.detail == (
            "shares 2 of the 6 capabilities that either has: match 0.333 is below 0.7"
        )


async def test_g2_the_last_page_that_is_full_has_no_next_one() -> None:
    async with running() as world:
        for number in range(4):
            await world.register(f"unable-{number}", "z")
        found = world.governor.find_qualified_swarm("a", explain=True, limit=4)
        assert (len(found.excluded), found.next_after) == (4, "")


async def test_g1_more_than_64_capabilities_are_refused() -> None:
    async with running() as world:
        with pytest.raises(InvalidField) as caught:
            world.governor.find_qualified_swarm([str(n) for n in range(65)])
        assert caught.value.reason is Reason.INVALID_FIELD
        assert caught.value.fields[0].field == "required_capabilities"
