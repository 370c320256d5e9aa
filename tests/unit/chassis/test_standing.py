"""X4, X5, G1: ends of tasks become service levels and reputations, once each and at once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from infrafabric_server.chassis import slo
from infrafabric_server.chassis.reputation import Evidence, Verdict
from infrafabric_server.chassis.slo import ObjectiveKind
from infrafabric_server.chassis.standing import Outcome, Standing, counted
from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.models import FailureKind, LossKind
from infrafabric_server.errors import FabricError
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.governor.models import Page
from infrafabric_server.governor.policy.models import Policy, Reputing, ServiceLevel
from infrafabric_server.governor.policy.verdicts import effective
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import (
    Compare,
    StoreUnavailable,
    unchanged,
)
from tests.contract.clock import SteppedClock
from tests.unit.chassis.standings import NEEDS, Judged, judged
from tests.unit.store.kit import FailingStore, keys

DAY = 86_400.0


async def best(world: Judged) -> list[str]:
    """Return who is right for a task, best first."""
    found = await world.fabric.governor.find_qualified_swarm(NEEDS, explain=Page())
    return [each.swarm_id for each in found.candidates]


async def test_g1_x5_the_end_of_a_task_changes_the_rank_at_once() -> None:
    async with judged() as world:
        await world.register("a", "b", "c")
        assert await best(world) == ["a", "b", "c"]
        await world.completes("b", "t1")
        assert await best(world) == ["b", "a", "c"]
        await world.fails("a", "t2")
        assert await best(world) == ["b", "c", "a"]
        before = [world.fabric.reputations.of(each) for each in "abc"]
        await world.count()
        assert [world.fabric.reputations.of(each) for each in "abc"] == before
        assert await best(world) == ["b", "c", "a"]


Act = Callable[[Judged], Awaitable[object]]


async def _released(world: Judged) -> None:
    held = await world.claimed("s", "t")
    await world.fabric.coordinator.claims.release("s", "t", held.attempt, "no time")


async def _cancelled(world: Judged) -> None:
    await world.claimed("s", "t")
    await world.fabric.coordinator.endings.cancel("t", "not needed")


async def _expired(world: Judged) -> None:
    await world.claimed("s", "t")
    await world.clock.advance(301)
    world.fabric.parts.timers.fire()
    await world.fabric.settled()


async def _late(world: Judged) -> None:
    held = await world.claimed("s", "t")
    await world.clock.advance(240)
    await world.complete(held, "t")


def _lost(kind: LossKind) -> Act:
    async def act(world: Judged) -> None:
        held = await world.claimed("s", "t")
        await world.fabric.coordinator.claims.lose("s", "t", held.attempt, kind)

    return act


@pytest.mark.parametrize(
    ("act", "seen"),
    [
        pytest.param(lambda world: world.completes("s", "t"), (1, 1), id="completed"),
        pytest.param(_late, (0.5, 1), id="late"),
        pytest.param(lambda world: world.fails("s", "t"), (0, 1), id="failed"),
        pytest.param(_expired, (0, 1), id="expired"),
        pytest.param(_lost(LossKind.SESSION_LOST), (0, 1), id="session-lost"),
        pytest.param(_lost(LossKind.NO_PROGRESS), (0, 1), id="no-progress"),
        pytest.param(
            lambda world: world.fails("s", "t", kind=FailureKind.PERMANENT), (0, 0), id="permanent"
        ),
        pytest.param(
            lambda world: world.fails("s", "t", kind=FailureKind.PROVIDER_RATE), (0, 0), id="rate"
        ),
        pytest.param(_released, (0, 0), id="released"),
        pytest.param(_cancelled, (0, 0), id="cancelled"),
        pytest.param(_lost(LossKind.HALTED), (0, 0), id="halted"),
        pytest.param(_lost(LossKind.DECLINED), (0, 0), id="declined"),
        pytest.param(_lost(LossKind.NOT_ACKNOWLEDGED), (0, 0), id="not-acknowledged"),
        pytest.param(_lost(LossKind.SESSION_CLOSED), (0, 0), id="session-closed"),
        pytest.param(_lost(LossKind.DEREGISTERED), (0, 0), id="deregistered"),
    ],
)
async def test_x5_what_counts_and_what_does_not(act: Act, seen: tuple[float, float]) -> None:
    policy = Policy(slo=ServiceLevel(p99_latency=timedelta(minutes=2)))
    async with judged(policy) as world:
        await world.register("s")
        await act(world)
        assert world.seen("s") == seen
        await world.count()
        assert world.seen("s") == seen
        counts = world.reports.slo("s").counts
        assert counts.attempts == seen[1]
        assert await keys(world.fabric.store, "outcomes/") == {}


async def test_x5_a_call_that_is_repeated_counts_once() -> None:
    async with judged() as world:
        await world.register("s")
        held = await world.claimed("s", "t")
        for _ in range(3):
            await world.complete(held, "t")
        await world.count()
        await world.complete(held, "t")
        await world.count()
        assert world.seen("s") == (1, 1)


async def test_x5_every_attempt_at_a_task_counts_for_its_own_swarm() -> None:
    async with judged() as world:
        await world.register("a", "b")
        await world.fails("a", "t")
        await world.fails("b", "t")
        await world.completes("a", "t")
        assert (world.seen("a"), world.seen("b")) == ((1, 2), (0, 1))
        await world.count()
        assert (world.seen("a"), world.seen("b")) == ((1, 2), (0, 1))


@pytest.mark.parametrize("after", [False, True])
async def test_x5_a_lost_answer_loses_and_repeats_nothing(after: bool) -> None:
    clock = SteppedClock()
    store = await FailingStore.open(clock=clock, sleep=clock.sleep)
    async with judged(store=store, clock=clock) as world:
        await world.register("s")
        await world.completes("s", "t1", "t2")
        store.lost_before, store.lost_after = (0, 1) if after else (1, 0)
        with pytest.raises(StoreUnavailable):
            await world.keeper.count()
        await world.fabric.settled()
        await world.count()
        assert world.seen("s") == (2, 2)
        assert world.fabric.reputations.uncounted("s") == {}
    await store.close()


class Followed:
    """A leadership that others have taken over: the fence compares a key that has changed."""

    leading = True
    term = 1

    def fence(self) -> list[Compare]:
        return [unchanged("leader/fabric", 77)]

    def follow(self, _listener: object) -> None:
        """Nobody is told: that is the point."""


async def test_d6_a_leader_that_was_followed_counts_nothing() -> None:
    async with judged(leadership=Followed()) as world:
        await world.register("s")
        await world.completes("s", "t")
        with pytest.raises(StoreUnavailable):
            await world.keeper.count()
        assert await keys(world.fabric.store, "reputation/") == {}
        assert world.seen("s") == (1, 1)


async def test_x5_everything_is_there_again_after_a_restart() -> None:
    clock = SteppedClock()
    store = await MemoryStore.open(clock=clock, sleep=clock.sleep)
    async with judged(store=store, clock=clock) as world:
        await world.register("s")
        await world.completes("s", "t1", "t2")
        await world.count()
        await world.fails("s", "t3")
        before = (world.seen("s"), world.fabric.reputations.of("s"), world.reports.slo("s"))
    async with judged(store=store, clock=clock) as world:
        assert (
            world.seen("s"),
            world.fabric.reputations.of("s"),
            world.reports.slo("s"),
        ) == before
    await store.close()


async def test_x5_a_reputation_fades_in_the_score_by_itself() -> None:
    policy = Policy(reputation=Reputing(half_life=timedelta(hours=1)))
    async with judged(policy) as world, asyncio.TaskGroup() as group:
        fading = group.create_task(world.fabric.reputations.run())
        await world.register("a", "b")
        await world.completes("a", *(f"t{n}" for n in range(10)))
        assert world.fabric.reputations.of("a") == 0.75
        await world.clock.advance(3600)
        assert world.fabric.reputations.of("a") == pytest.approx((5 + 5) / (10 + 5), abs=0.003)
        await world.clock.advance(30 * 3600)
        assert world.fabric.reputations.of("a") == world.fabric.reputations.of("b") == 0.5
        fading.cancel()


async def test_x5_another_policy_ranks_anew() -> None:
    async with judged() as world, asyncio.TaskGroup() as group:
        following = group.create_task(world.fabric.reputations.run())
        await world.register("a", "b")
        await world.fails("a", "t")
        await world.clock.advance(1)
        policy = Policy(reputation=Reputing(prior=0.25, prior_weight=1.0))
        world.policies.install(effective(policy, "cafe"))
        await world.clock.advance(1)
        assert [world.fabric.reputations.of(each) for each in "ab"] == [0.125, 0.25]
        assert await best(world) == ["b", "a"]
        following.cancel()


async def test_x5_the_history_has_a_point_for_each_stretch_and_an_end() -> None:
    policy = Policy(reputation=Reputing(half_life=timedelta(hours=1)))
    async with judged(policy) as world:
        await world.register("s")
        for n in range(70):
            await world.completes("s", f"t{n}")
            await world.count()
            await world.clock.advance(120)
        history = world.reports.reputation("s").history
        assert len(history) == 64
        assert [each.time for each in history] == sorted({each.time for each in history})
        # What is two minutes older weighs 2^-(1/30) of the next.
        assert history[-1].seen == pytest.approx((1 - 2 ** (-70 / 30)) / (1 - 2 ** (-1 / 30)))
        await world.completes("s", "x1")
        await world.count()
        await world.completes("s", "x2")
        await world.count()
        again = world.reports.reputation("s").history
        assert again[:-1] == history[1:]


async def test_x4_availability_follows_sessions() -> None:
    async with judged() as world, asyncio.TaskGroup() as group:
        running = group.create_task(world.keeper.run())
        link = await world.fabric.join("s", {"any"})
        await world.clock.advance(30)
        await world.fabric.coordinator.sessions.close(link, "gone home")
        await world.clock.advance(30)
        (found,) = [
            each
            for each in world.reports.slo("s").objectives
            if each.kind is ObjectiveKind.AVAILABILITY
        ]
        assert (found.total, found.bad) == (60, 30)
        running.cancel()


BURNING = Policy(slo=ServiceLevel(success_rate=0.5, min_attempts=4, max_burn_rate=1.5))


async def test_g6_x4_a_swarm_that_burns_its_error_budget_opens_its_breaker() -> None:
    async with judged(BURNING) as world:
        await world.register("s")
        await world.completes("s", "t0")
        # The same task again and again: for the failures in a row it counts once.
        for _ in range(3):
            await world.fails("s", "t1")
        await world.count()
        breaker = world.fabric.breakers.records.of("s")
        assert (breaker.open, breaker.cause) == (True, BreakerCause.SLO)
        assert breaker.detail == (
            "success was 25.0% of 4 attempts, 50.0% is the objective; the error budget burns"
            " 1.5 times as fast as it may, 1.5 opens it"
        )
        await world.fabric.breakers.reset("s", "Ann Lee", "the disk was full")
        await world.fails("s", "t1")
        await world.count()
        assert not world.fabric.breakers.records.of("s").open


async def test_g6_no_service_level_opens_a_breaker_unless_the_policy_says_so() -> None:
    async with judged() as world:
        await world.register("s")
        for _ in range(9):
            await world.fails("s", "t1")
        await world.count()
        assert not world.fabric.breakers.records.of("s").open


async def test_x5_a_swarm_that_comes_back_has_its_reputation() -> None:
    async with judged() as world:
        await world.register("s")
        await world.fails("s", "t1")
        await world.count()
        await world.fabric.coordinator.registration.deregister("s")
        await world.register("s")
        assert world.seen("s") == (0, 1)
        assert world.fabric.reputations.of("s") < 0.5


async def test_x5_a_swarm_that_is_gone_is_forgotten_when_its_record_has_faded() -> None:
    async with judged() as world, asyncio.TaskGroup() as group:
        running = group.create_task(world.keeper.run())
        await world.register("s", "t")
        await world.fails("s", "t1")
        await world.fails("t", "t2")
        await world.clock.advance(10)
        await world.fabric.coordinator.registration.deregister("s")
        await world.clock.advance(6 * DAY)
        await world.completes("t", "t3")
        await world.clock.advance(10)
        assert {*await keys(world.fabric.store, "reputation/")} == {"s", "t"}
        await world.clock.advance(2 * DAY)
        await world.completes("t", "t4")
        await world.clock.advance(10)
        assert {*await keys(world.fabric.store, "reputation/")} == {"t"}
        with pytest.raises(FabricError, match="no swarm has the id s"):
            world.reports.reputation("s")
        running.cancel()


def test_x4_x5_a_clock_that_was_set_back_holds_up_nothing() -> None:
    """What ended when it was a year ahead counts as of now, and so does what ends now.

    A record may be of before reputations had a time of their own.
    """
    now, ahead = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    level, by, known = ServiceLevel(), Reputing(), Standing()
    for time in (ahead, now):
        failed = Outcome(
            swarm_id="s",
            verdict=Verdict.FAILED,
            begin_time=time - timedelta(hours=1),
            end_time=time,
        )
        known = counted(known, [failed], time, time, level, by)
    assert known.evidence == Evidence(time=now, good=0, seen=2)
    assert slo.total(known.window, now, level).failed == 2
    assert [each.time for each in known.history] == [now]
    tomorrow = now + timedelta(days=2)
    assert slo.total(slo.merged(known.window, tomorrow, level), tomorrow, level).failed == 0


def test_x5_the_limits_of_a_fabric_are_those_of_the_tests() -> None:
    """Claims outside sessions expire after five minutes, which `_expired` waits for."""
    assert Limits().claim_ttl == 300
