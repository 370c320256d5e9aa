"""Breakers that money opens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from infrafabric_server.coordinator.models import (
    Dispatch,
    TaskSpec,
)
from infrafabric_server.errors import InvalidField
from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.governor.breaker.keeper import Keeper
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Breaking, Policy
from infrafabric_server.optimise.models import Budget, swarm_account
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, new_task
from tests.unit.breaker.kit import fabric_with


async def test_g6_a_spent_budget_opens_and_only_a_new_one_lets_it_be_reset() -> None:
    clock = SteppedClock()
    async with fabric_with(Breaking(), clock) as fabric:
        await fabric.coordinator.register_swarm("s", frozenset({"any"}))
        ledger, mirror = fabric.ledger, fabric.mirror
        await mirror.commit(
            [],
            [
                ledger.budgets.put(
                    swarm_account("s"), Budget(limit_micros=1000, update_time=clock.now())
                )
            ],
        )
        keeper = keeper_of(fabric, clock, Breaking())
        await fabric.create(*(capped(name, 1000) for name in "ab"))
        await fabric.coordinator.claims.claim("s", "a")
        await fabric.coordinator.claims.complete("s", "a", 1, result_json="{}", cost_micros=1000)
        async with running(keeper):
            await fabric.settled()
        breaker = fabric.breakers.records.of("s")
        assert (breaker.cause, breaker.detail) == (
            BreakerCause.BUDGET,
            "0.001 USD of 0.001 USD are spent",
        )
        with pytest.raises(InvalidField, match="opens again at once"):
            await fabric.breakers.reset("s", "ann", "go on")
        await fabric.breakers.reset("s", "ann", "go on", 3000)
        budget = ledger.budget(swarm_account("s"))
        assert budget is not None
        assert budget.limit_micros == 3000
        async with running(keeper):
            await fabric.settled()
        assert not fabric.breakers.records.of("s").open
        assert (await fabric.coordinator.claims.claim("s", "b")).claimed


async def test_g6_too_much_in_a_minute_opens() -> None:
    clock = SteppedClock()
    breaking = Breaking(max_cost_per_minute_micros=1500)
    async with fabric_with(breaking, clock) as fabric:
        await fabric.coordinator.register_swarm("s", frozenset({"any"}))
        keeper = keeper_of(fabric, clock, breaking)
        async with running(keeper):
            for name, opened in (("a", False), ("b", True)):
                await fabric.create(capped(name, 1000))
                await fabric.coordinator.claims.claim("s", name)
                await fabric.coordinator.claims.complete(
                    "s", name, 1, result_json="{}", cost_micros=1000
                )
                await fabric.settled()
                assert fabric.breakers.records.of("s").open is opened
        breaker = fabric.breakers.records.of("s")
        assert breaker.cause is BreakerCause.COST_RATE


def capped(task_id: str, micros: int) -> tuple[TaskSpec, Dispatch]:
    spec, dispatch = new_task(task_id)
    return spec.model_copy(update={"max_cost_micros": micros}), dispatch


def keeper_of(fabric: Fabric, clock: SteppedClock, breaking: Breaking) -> Keeper:
    return Keeper(
        fabric.mirror,
        fabric.fleet,
        fabric.ledger,
        fabric.breakers,
        SoleLeader(),
        clock,
        PolicyBook(Policy(breaker=breaking)),
    )


@asynccontextmanager
async def running(keeper: Keeper) -> AsyncIterator[None]:
    task = asyncio.create_task(keeper.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
