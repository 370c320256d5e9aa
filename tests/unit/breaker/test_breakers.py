"""Breakers in a running coordinator: who opens and closes them, and what follows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from infrafabric.v1.session_client_pb2 import SESSION_ROLE_WORKER, OpenFrame
from infrafabric_server.coordinator.frames import Halt, Revoked, RevokeReason
from infrafabric_server.coordinator.models import (
    FailureKind,
    LossKind,
    Refusal,
    RetryPolicy,
    TaskState,
)
from infrafabric_server.coordinator.registration import Joining
from infrafabric_server.coordinator.service import parse
from infrafabric_server.errors import FabricError, InvalidField, Reason
from infrafabric_server.governor.breaker.models import BreakerCause, BreakerState
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Breaking, Override, Policy
from infrafabric_server.store.memory import MemoryStore
from tests.contract.clock import SteppedClock
from tests.harness.fabric import new_task, running_fabric
from tests.harness.replicas import Cluster, running_cluster
from tests.unit.breaker.kit import OFTEN, fabric_with, fails, frames, recorded
from tests.unit.optimise.kit import MovedClock


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster("anna", "bert") as running:
        yield running


async def test_g6_failures_in_a_row_open_and_the_state_survives_a_restart() -> None:
    clock = SteppedClock()
    store = await MemoryStore.open(clock=clock)
    async with fabric_with(Breaking(max_consecutive_failures=3), clock, store) as fabric:
        await fabric.coordinator.register_swarm("s", frozenset({"any"}))
        for name in "abc":
            await fabric.create(new_task(name, retry=OFTEN))
            await fails(fabric, name)
        breaker = fabric.breakers.records.of("s")
        assert (breaker.state, breaker.cause) == (BreakerState.OPEN, BreakerCause.FAILURES)
        assert breaker.detail == "3 failures in a row, 3 open it"
        assert await recorded(fabric, "breaker_opened") == 1
    async with fabric_with(Breaking(), clock, store) as again:
        assert again.breakers.records.of("s") == breaker
        outcome = await again.coordinator.claims.claim("s", "a")
        assert outcome.refusal is Refusal.BREAKER_OPEN
        assert "3 failures in a row" in outcome.detail
    await store.close()


async def test_g6_lost_claims_and_releases_do_not_count() -> None:
    async with fabric_with(Breaking(max_consecutive_failures=1), SteppedClock()) as fabric:
        await fabric.coordinator.register_swarm("s", frozenset({"any"}))
        await fabric.create(new_task("a", retry=OFTEN))
        claims = fabric.coordinator.claims
        await claims.claim("s", "a")
        await claims.lose("s", "a", 1, LossKind.EXPIRED)
        await claims.claim("s", "a")
        await claims.release("s", "a", 2, "")
        assert not fabric.breakers.records.of("s").open
        await fails(fabric, "a")
        assert fabric.breakers.records.of("s").open


async def test_g6_a_task_that_nobody_can_do_stops_no_swarm() -> None:
    async with fabric_with(Breaking(), SteppedClock()) as fabric:
        await fabric.coordinator.register_swarm("s", frozenset({"any"}))
        await fabric.create(new_task("poison", retry=OFTEN))
        for _ in range(5):
            await fails(fabric, "poison")
        assert fabric.breakers.records.of("s").consecutive_failures == 1
        # The input of a task is to blame for a permanent failure.
        for number in range(12):
            await fabric.create(new_task(f"t{number}", retry=OFTEN))
            await fails(fabric, f"t{number}", kind=FailureKind.PERMANENT)
        assert not fabric.breakers.records.of("s").open
        assert fabric.breakers.records.of("s").consecutive_failures == 1


async def test_g6_failures_of_one_moment_are_all_counted() -> None:
    async with fabric_with(
        Breaking(max_consecutive_failures=1000, max_failure_rate=None), SteppedClock()
    ) as fabric:
        await fabric.coordinator.registration.register(
            Joining("s", frozenset({"any"}), max_concurrent_tasks=64)
        )
        names = [f"t{number}" for number in range(64)]
        await fabric.create(*(new_task(name, retry=OFTEN) for name in names))
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(fails(fabric, name))
        assert fabric.breakers.records.of("s").consecutive_failures == 64


async def test_g6_the_failure_rate_counts_successes_that_were_not_written() -> None:
    clock = SteppedClock()
    breaking = Breaking(max_consecutive_failures=100, max_failure_rate=0.5, min_calls=4)
    store = await MemoryStore.open(clock=clock)
    async with fabric_with(breaking, clock, store) as fabric:
        await fabric.coordinator.register_swarm("s", frozenset({"any"}))
        for name in ("a", "b", "c"):
            await fabric.create(new_task(name))
            await fabric.coordinator.claims.claim("s", name)
            await fabric.coordinator.claims.complete("s", name, 1, result_json="{}", cost_micros=0)
        await fabric.settled()
    # What was counted in memory is found again after a restart.
    async with fabric_with(breaking, clock, store) as fabric:
        await fabric.create(new_task("d", retry=OFTEN))
        await fails(fabric, "d")
        await fails(fabric, "d")
        assert not fabric.breakers.records.of("s").open
        await fails(fabric, "d")
        breaker = fabric.breakers.records.of("s")
        assert breaker.cause is BreakerCause.FAILURE_RATE
        assert breaker.detail.startswith("3 of the last 6 attempts failed")
    await store.close()


async def test_g6_a_cost_beyond_the_reservation_opens() -> None:
    async with fabric_with(Breaking(), SteppedClock()) as fabric:
        await fabric.coordinator.register_swarm("s", frozenset({"any"}))
        spec, dispatch = new_task("a")
        await fabric.create((spec.model_copy(update={"max_cost_micros": 1000}), dispatch))
        await fabric.coordinator.claims.claim("s", "a")
        await fabric.coordinator.claims.complete("s", "a", 1, result_json="{}", cost_micros=1001)
        breaker = fabric.breakers.records.of("s")
        assert breaker.cause is BreakerCause.OVERRUN
        assert fabric.task("a").state is TaskState.COMPLETED


async def test_g6_open_halts_the_session_then_fences_what_is_left() -> None:
    clock = SteppedClock()
    async with fabric_with(Breaking(halt_grace=timedelta(seconds=30)), clock) as fabric:
        link = await fabric.join("s")
        await fabric.create(new_task("a"))
        await fabric.settled()
        assert fabric.task("a").claim is not None
        await fabric.breakers.trip("s", BreakerCause.MANUAL, "it burns")
        (halt,) = await frames(link, Halt)
        assert isinstance(halt, Halt)
        assert halt.grace == 30
        await fabric.create(new_task("b"))
        await clock.advance(29)
        fabric.parts.timers.fire()
        await fabric.settled()
        assert fabric.task("a").claim is not None
        await clock.advance(1)
        fabric.parts.timers.fire()
        await fabric.settled()
        assert fabric.task("a").claim is None
        assert fabric.task("a").last_loss is LossKind.HALTED
        assert fabric.task("b").claim is None
        (revoked,) = await frames(link, Revoked)
        assert isinstance(revoked, Revoked)
        assert revoked.reason is RevokeReason.HALTED
        # Who is told to stop is not given the same work again, until a person says so.
        await fabric.breakers.reset("s", "ann", "put out")
        await fabric.settled()
        assert [fabric.task(name).state for name in "ab"].count(TaskState.CLAIMED) == 1


async def test_g6_a_time_of_day_that_is_set_back_does_not_keep_the_fence_away() -> None:
    clock = MovedClock()
    async with fabric_with(Breaking(halt_grace=timedelta(seconds=30)), clock) as fabric:
        await fabric.join("s")
        await fabric.create(new_task("a"))
        await fabric.breakers.trip("s", BreakerCause.MANUAL, "it burns")
        clock.time_of_day -= timedelta(milliseconds=500)
        for seconds, held in ((30, True), (1, False)):
            await clock.advance(seconds)
            fabric.parts.timers.fire()
            await fabric.settled()
            assert (fabric.task("a").claim is not None) is held


async def test_g6_the_hold_of_the_fabric_refuses_everybody() -> None:
    async with fabric_with(Breaking(), SteppedClock()) as fabric:
        await fabric.join("s")
        await fabric.coordinator.register_swarm("other", frozenset({"any"}))
        await fabric.breakers.trip("", BreakerCause.MANUAL, "all stop")
        await fabric.create(new_task("a"))
        await fabric.settled()
        assert fabric.task("a").claim is None
        outcome = await fabric.coordinator.claims.claim("other", "a")
        assert (outcome.refusal, outcome.detail) == (
            Refusal.HOLD,
            "the fabric is on hold: all stop",
        )
        with pytest.raises(FabricError) as refused:
            await fabric.coordinator.push_task_to_swarm("s", "a")
        assert refused.value.reason is Reason.NO_SESSION
        await fabric.breakers.reset("", "ann", "go on")
        await fabric.settled()
        assert fabric.task("a").state is TaskState.CLAIMED


async def test_g6_breakers_are_listed_by_swarm_and_the_hold_first() -> None:
    async with fabric_with(Breaking(), SteppedClock()) as fabric:
        for swarm_id in "abc":
            await fabric.coordinator.register_swarm(swarm_id, frozenset({"any"}))
        for scope in ("c", "", "a"):
            await fabric.breakers.trip(scope, BreakerCause.MANUAL, "why")
        await fabric.breakers.reset("c", "ann", "safe")
        breakers = fabric.breakers

        async def listed(
            state: BreakerState | None, after: str, limit: int
        ) -> tuple[list[str], str]:
            part = await breakers.page(state, after, limit)
            return [each.swarm_id for each in part.found], part.position

        assert await listed(None, "", 10) == (["", "a", "c"], "")
        assert await listed(None, "", 1) == ([""], " ")
        assert await listed(None, " ", 1) == (["a"], "a")
        assert await listed(None, "a", 10) == (["c"], "")
        assert await listed(BreakerState.OPEN, "", 10) == (["", "a"], "")
        assert await listed(BreakerState.CLOSED, "", 1) == (["c"], "")


async def test_g8_a_swarm_may_have_settings_of_its_own() -> None:
    clock = SteppedClock()
    store = await MemoryStore.open(clock=clock)
    override = Override(swarms="r*", breaker=Breaking(max_consecutive_failures=1))
    policies = PolicyBook(Policy(overrides=(override,)))
    async with running_fabric(store, clock=clock, policies=policies) as fabric:
        for swarm_id in ("rogue", "s"):
            await fabric.coordinator.register_swarm(swarm_id, frozenset({"any"}))
            await fabric.create(new_task(swarm_id, retry=OFTEN))
            await fails(fabric, swarm_id, swarm_id)
        assert fabric.breakers.records.of("rogue").open
        assert not fabric.breakers.records.of("s").open
    await store.close()


async def test_g7_only_a_person_resets() -> None:
    async with fabric_with(Breaking(), SteppedClock()) as fabric:
        for swarm_id in ("s", "ann"):
            await fabric.coordinator.register_swarm(swarm_id, frozenset({"any"}))
        await fabric.breakers.trip("s", BreakerCause.MANUAL, "why")
        for approver, reason, field in (
            ("ann", "safe", "approver"),
            (" ann ", "safe", "approver"),
            ("s", "safe", "approver"),
            ("\uff53", "safe", "approver"),
            ("a\u200dnn", "safe", "approver"),
            ("bob\0", "safe", "approver"),
            (" ", "safe", "approver"),
            ("bob", " ", "reason"),
        ):
            with pytest.raises(InvalidField) as refused:
                await fabric.breakers.reset("s", approver, reason)
            assert refused.value.fields[0].field == field
        assert fabric.breakers.records.of("s").open
        # Nor does anything that the swarm does.
        await fabric.coordinator.registration.deregister("s")
        await fabric.settled()
        await fabric.coordinator.register_swarm("s", frozenset({"any"}))
        assert fabric.breakers.records.of("s").open
        closed = await fabric.breakers.reset("s", "bob", "safe")
        assert (closed.open, closed.approver, closed.reset_reason) == (False, "bob", "safe")
        assert await recorded(fabric, "breaker_reset") == 1
        assert await fabric.breakers.reset("s", "bob", "safe") == closed
        assert await recorded(fabric, "breaker_reset") == 1


async def test_g7_a_swarm_that_left_is_not_a_person() -> None:
    async with fabric_with(Breaking(), SteppedClock()) as fabric:
        for swarm_id in "st":
            await fabric.coordinator.register_swarm(swarm_id, frozenset({"any"}))
            await fabric.breakers.trip(swarm_id, BreakerCause.MANUAL, "why")
            await fabric.coordinator.registration.deregister(swarm_id)
        await fabric.settled()
        for scope, approver in (("s", "s"), ("s", "t"), ("", "t")):
            with pytest.raises(InvalidField, match="is or was a swarm"):
                await fabric.breakers.reset(scope, approver, "safe")
        assert fabric.breakers.records.of("s").open


def test_g6_no_session_shares_the_own_pool_of_another_swarm() -> None:
    frame = OpenFrame(role=SESSION_ROLE_WORKER, swarm_id="s", credential_pool="swarm:t")
    with pytest.raises(InvalidField) as refused:
        parse.opening(frame)
    assert refused.value.fields[0].field == "open.credential_pool"
    frame.credential_pool = "swarms"
    assert parse.opening(frame).joining.credential_pool == "swarms"


async def test_g6_a_provider_pauses_its_pool_for_a_day_at_most() -> None:
    clock = SteppedClock()
    async with fabric_with(Breaking(), clock) as fabric:
        await fabric.coordinator.register_swarm("s", frozenset({"any"}))
        await fabric.create(new_task("a"))
        claims = fabric.coordinator.claims
        await claims.claim("s", "a")
        kind, until = FailureKind.PROVIDER_QUOTA, clock.now() + timedelta(days=40)
        await claims.fail("s", "a", 1, reason="no tokens", kind=kind, retry_time=until)
        (paused,) = fabric.breakers.paused(100)
        assert paused.pool.paused_until == clock.now() + timedelta(days=1)


async def test_g6_a_provider_without_quota_pauses_its_pool_and_nothing_else() -> None:
    clock = SteppedClock()
    async with fabric_with(Breaking(max_consecutive_failures=1), clock) as fabric:
        for swarm_id in ("s", "t"):
            await fabric.coordinator.registration.register(
                Joining(swarm_id, frozenset({"any"}), credential_pool="openai")
            )
        await fabric.coordinator.register_swarm("u", frozenset({"any"}))
        claims = fabric.coordinator.claims
        await fabric.create(new_task("a", retry=RetryPolicy(max_attempts=1)))
        await claims.claim("s", "a")
        until = clock.now() + timedelta(minutes=10)
        await claims.fail(
            "s",
            "a",
            1,
            reason="no tokens",
            kind=FailureKind.PROVIDER_QUOTA,
            retry_time=until,
        )
        assert (fabric.task("a").state, fabric.task("a").failures) == (TaskState.AVAILABLE, 0)
        assert not fabric.breakers.records.of("s").open
        for swarm_id in ("s", "t"):
            outcome = await claims.claim(swarm_id, "a")
            assert outcome.refusal is Refusal.HOLD
            assert "openai is paused until" in outcome.detail
        (paused,) = fabric.breakers.paused(100)
        assert (paused.pool.reason, paused.swarm_ids) == ("no tokens", ("s", "t"))
        # Others have it at once.
        assert (await claims.claim("u", "a")).claimed
        await claims.release("u", "a", 2, "")
        await clock.advance(600)
        fabric.parts.timers.fire()
        await fabric.settled()
        assert fabric.breakers.paused(100) == []
        assert await recorded(fabric, "pool_resumed") == 1
        assert (await claims.claim("t", "a")).claimed


async def test_g6_an_open_breaker_admits_nothing_on_either_replica(cluster: Cluster) -> None:
    anna, bert = cluster["anna"], cluster["bert"]
    link = await bert.fabric.join("s")
    await cluster.settled()
    # What bert sees is old: its claim must fail on what it compares.
    bert.fall_behind()
    await anna.fabric.create(new_task("a"))
    bert.come_along()
    await cluster.settled()
    assert bert.fabric.task("a").claim is not None
    await bert.fabric.coordinator.claims.release("s", "a", 1, "", link.epoch)
    await anna.fabric.create(new_task("b"))
    await cluster.settled()
    bert.fall_behind()
    await anna.fabric.breakers.trip("s", BreakerCause.MANUAL, "stop")
    held = [name for name in "ab" if anna.fabric.task(name).claim is not None]
    free = next(name for name in "ab" if name not in held)
    outcome = await bert.behind(bert.fabric.coordinator.claims.claim("s", free, link.epoch))
    assert outcome.refusal is Refusal.BREAKER_OPEN
    await cluster.settled()
    assert await frames(link, Halt)
    # The leader dies; the next one takes what is left.
    anna.lead(leading=False)
    bert.lead()
    await cluster.pass_time(31)
    for name in "ab":
        assert bert.fabric.task(name).claim is None
