"""X5: reputations fade as time goes by, whatever the clocks of the replicas show."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infrafabric_server.chassis.fading import Fading, FadingTime
from infrafabric_server.chassis.reputation import Evidence, Verdict, reputation
from infrafabric_server.chassis.standing import Outcome, Standing, counted
from infrafabric_server.clock import Clock
from infrafabric_server.governor.policy.models import Policy, Reputing, ServiceLevel
from infrafabric_server.store.memory import MemoryStore
from tests.contract.clock import SteppedClock
from tests.unit.chassis.standings import Judged, judged
from tests.unit.store.kit import keys

YEAR = timedelta(days=365)
WEEK = 7 * 86_400.0
BY = Reputing()


class JumpingClock(SteppedClock):
    """A clock that a test sets forward and back; what it measures goes on as it does."""

    def __init__(self) -> None:
        super().__init__()
        self.off = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.off


async def attempts(world: Judged, *names: str) -> None:
    """Have the swarm `s` complete tasks, and have them counted."""
    await world.completes("s", *names)
    await world.count()


@pytest.mark.parametrize("off", [YEAR, -YEAR])
async def test_x5_a_clock_that_jumps_and_comes_back_changes_no_reputation(off: timedelta) -> None:
    clock = JumpingClock()
    store = await MemoryStore.open(clock=clock, sleep=clock.sleep)
    async with judged(store=store, clock=clock) as world, asyncio.TaskGroup() as group:
        leading = group.create_task(world.keeper.run())
        fading = group.create_task(world.fabric.reputations.run())
        await world.register("s")
        await attempts(world, *(f"a{n}" for n in range(10)))
        clock.off = off
        await attempts(world, *(f"b{n}" for n in range(10)))
        assert world.seen("s") == (20, 20)
        clock.off = timedelta(0)
        await attempts(world, "c")
        assert world.seen("s") == (21, 21)
        assert world.fabric.reputations.of("s") == pytest.approx(26 / 31, abs=0.001)
        # Nothing is frozen either: it fades from here on.
        await clock.advance(WEEK)
        assert world.seen("s") == pytest.approx((10.5, 10.5))
        assert world.fabric.reputations.of("s") == pytest.approx(15.5 / 20.5, abs=0.001)
        leading.cancel()
        fading.cancel()
    await store.close()


async def led(world: Judged, *names: str) -> tuple[float, float]:
    """Have a replica lead, and a swarm do something; return what is seen of it then."""
    async with asyncio.TaskGroup() as group:
        leading = group.create_task(world.keeper.run())
        await world.clock.advance(1)
        if "s" not in world.fabric.fleet.swarms:
            await world.register("s")
        await attempts(world, *names)
        # By then it was told at least once.
        await world.clock.advance(120)
        assert await keys(world.fabric.store, "reputation_time/")
        seen = world.seen("s")
        leading.cancel()
    return seen


async def test_x5_a_leader_with_another_clock_costs_an_eighth_of_a_half_life_at_most() -> None:
    clock = JumpingClock()
    store = await MemoryStore.open(clock=clock, sleep=clock.sleep)
    policy = Policy(reputation=BY)
    seen = []
    for name, off in (("a", timedelta(0)), ("b", YEAR), ("c", timedelta(0)), ("d", -YEAR)):
        clock.off = off
        async with judged(policy, store=store, clock=clock) as world:
            seen.append((await led(world, name))[1])
    fading = 2 ** (-1 / 8)
    # Within some minutes, which are between them.
    assert seen == [
        pytest.approx(1, abs=0.01),
        pytest.approx(1 * fading + 1, abs=0.01),
        pytest.approx(1 * fading + 2, abs=0.01),
        pytest.approx(1 * fading + 3, abs=0.01),
    ]
    clock.off = timedelta(0)
    async with judged(policy, store=store, clock=clock) as world:
        await world.clock.advance(WEEK)
        assert world.seen("s")[1] == pytest.approx(seen[-1] / 2, abs=0.01)
    await store.close()


async def test_x5_others_have_their_turn_while_all_swarms_are_weighed_anew() -> None:
    clock = JumpingClock()
    store = await MemoryStore.open(clock=clock, sleep=clock.sleep)
    async with judged(store=store, clock=clock) as world:
        found, now = world.fabric.reputations, clock.now()
        known = Standing(evidence=Evidence(time=now, good=1000, seen=1000))
        swarms = [f"s{n}" for n in range(600)]
        await world.fabric.mirror.commit([], [found.standings.put(each, known) for each in swarms])
        heard: dict[str, int] = {}
        turns = 0

        def hear(swarm_id: str) -> None:
            heard[swarm_id] = turns

        found.subscribe(hear)
        told = FadingTime(time=now + timedelta(weeks=10), clock_time=now)
        await world.fabric.mirror.commit([], [found.time.put("fabric", told)])
        while len(heard) < len(swarms):
            turns += 1
            await asyncio.sleep(0)
        most = max(Counter(heard.values()).values())
        assert most < len(swarms) / 2
        assert len({found.of(each) for each in swarms}) == 1
    await store.close()


class Steps(Clock):
    """A clock of a replica: its time of day is the test's."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.off = timedelta(0)

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds) + self.off

    def monotonic(self) -> float:
        return self.seconds


class Clocks(RuleBasedStateMachine):
    """Replicas whose clocks are set to anything, of which one leads and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.clocks = [Steps() for _ in range(3)]
        self.times = [Fading(clock) for clock in self.clocks]
        self.leader = 0
        self.times[0].lead(BY.half_life)
        self.standing = Standing()
        self.seconds = 0.0
        self.starts = 0
        # Of each attempt: how it went, when it ended, and how often who leads was started by then.
        self.ended: list[tuple[Verdict, float, int]] = []
        self._tell()

    @rule(replica=st.integers(0, 2), off=st.timedeltas(-30 * YEAR, 30 * YEAR))
    def jumps(self, replica: int, off: timedelta) -> None:
        self.clocks[replica].off = off

    @rule(seconds=st.floats(0, 2 * WEEK))
    def passes(self, seconds: float) -> None:
        self._tell()
        self.seconds += seconds
        for clock in self.clocks:
            clock.seconds = self.seconds

    @rule(replica=st.integers(0, 2))
    def follows(self, replica: int) -> None:
        self._tell()
        self.times[self.leader].follow()
        self.leader = replica
        self.times[replica].lead(BY.half_life)
        self._tell()

    @rule(replica=st.integers(0, 2))
    def starts_anew(self, replica: int) -> None:
        told = self._tell()
        self.times[replica] = Fading(self.clocks[replica])
        self.times[replica].hear(told)
        if replica == self.leader:
            self.starts += 1
            self.times[replica].lead(BY.half_life)
            self._tell()

    @precondition(lambda self: len(self.ended) < 40)
    @rule(verdict=st.sampled_from(Verdict))
    def counts(self, verdict: Verdict) -> None:
        now, faded = self.clocks[self.leader].now(), self.times[self.leader].now()
        outcome = Outcome(swarm_id="s", verdict=verdict, begin_time=now, end_time=now)
        self.standing = counted(self.standing, [outcome], now, faded, ServiceLevel(), BY)
        self.ended.append((verdict, self.seconds, self.starts))

    @invariant()
    def weighs_what_was_seen(self) -> None:
        known = self.standing.evidence
        if known is None:
            return
        for time in self.times:
            value = reputation(known, time.now(), BY)
            assert 0 <= value <= 1
            least = most = 0.0
            for verdict, ended, starts in self.ended:
                halves = timedelta(seconds=self.seconds - ended) / BY.half_life
                most += 2**-halves * verdict.credit
                least += 2 ** -(halves + (self.starts - starts) / 8) * verdict.credit
            weight = 2 ** -((time.now() - known.time) / BY.half_life)
            assert least * 0.999_999 <= known.good * weight <= most * 1.000_001

    def _tell(self) -> FadingTime:
        told = self.times[self.leader].told()
        for time in self.times:
            time.hear(told)
        return told


TestClocks = Clocks.TestCase
