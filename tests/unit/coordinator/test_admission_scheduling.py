"""Scheduling gives nobody what would not be admitted."""

from datetime import timedelta

import pytest

from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.models import Dispatch
from infrafabric_server.optimise.models import FABRIC, Period, swarm_account
from infrafabric_server.store.memory import MemoryStore
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, running_fabric
from tests.harness.replicas import Cluster
from tests.unit.coordinator.money import (
    DOLLAR,
    board,
    complete,
    limit,
    limit_swarm,
    priced,
    reserved,
)


@pytest.fixture
async def swarm(fabric: Fabric) -> Fabric:
    """Return a fabric with a swarm `s` that has many slots."""
    await fabric.join("s", slots=50)
    return fabric


async def test_g4_a_swarm_without_money_is_given_nothing_until_it_has_some(swarm: Fabric) -> None:
    await limit_swarm(swarm, "s", DOLLAR)
    await board(swarm, 2 * DOLLAR, dispatch=Dispatch.AUTO)
    await swarm.settled()
    assert swarm.task("t0").claim is None
    before = await swarm.store.revision()
    await swarm.settled()
    assert await swarm.store.revision() == before
    await limit_swarm(swarm, "s", 2 * DOLLAR)
    await swarm.settled()
    assert swarm.task("t0").claim is not None


async def test_g4_a_task_goes_to_a_swarm_that_can_pay_for_it(swarm: Fabric) -> None:
    await limit_swarm(swarm, "s", DOLLAR)
    await swarm.join("u", cost=10**9)
    await board(swarm, 2 * DOLLAR, dispatch=Dispatch.AUTO)
    await swarm.settled()
    assert swarm.task("t0").last_owner == "u"


async def test_g4_a_waiting_task_is_assigned_when_the_fabric_has_money_again(
    swarm: Fabric,
) -> None:
    await limit(swarm, FABRIC, DOLLAR)
    await board(swarm, DOLLAR, DOLLAR, dispatch=Dispatch.AUTO)
    await swarm.settled()
    held = [n for n in range(2) if swarm.task(f"t{n}").claim is not None]
    assert held == [0]
    await complete(swarm, "t0", 0)
    await swarm.settled()
    assert swarm.task("t1").claim is not None


async def test_g4_a_swarm_is_given_work_again_when_its_period_is_renewed() -> None:
    clock = SteppedClock()
    store = await MemoryStore.open()
    async with running_fabric(store, clock=clock, limits=Limits(lease=10**6)) as fabric:
        await fabric.join("s", slots=5)
        await limit(fabric, swarm_account("s"), DOLLAR, Period.DAY)
        await board(fabric, DOLLAR, DOLLAR, dispatch=Dispatch.AUTO)
        await fabric.settled()
        await complete(fabric, "t0", DOLLAR)
        await fabric.settled()
        assert fabric.task("t1").claim is None
        await clock.advance(timedelta(days=1).total_seconds())
        fabric.parts.timers.fire()
        await fabric.settled()
        assert fabric.task("t1").claim is not None
    await store.close()


async def test_g4_a_whole_board_finds_a_swarm_for_each_task_within_a_transaction(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    for n in range(1000):
        await anna.join(f"s{n}")
    await anna.create(*[(priced(f"t{n}", 1), Dispatch.AUTO) for n in range(1000)])
    await cluster.settled()
    assert await reserved(cluster.store) == 1000


async def test_g4_a_session_is_shown_only_what_it_could_pay_for(swarm: Fabric) -> None:
    await limit_swarm(swarm, "s", DOLLAR)
    await board(swarm, 2 * DOLLAR, DOLLAR, dispatch=Dispatch.BROADCAST)
    link = swarm.parts.links.get("s")
    assert link is not None
    assert set(link.offered) == {"t1"}
    await limit_swarm(swarm, "s", 2 * DOLLAR)
    await swarm.settled()
    assert set(link.offered) == {"t0", "t1"}
