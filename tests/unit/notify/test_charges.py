"""N4, G3: what a swarm without a session reports to have spent is charged to its account."""

import asyncio
from datetime import timedelta

import pytest

from infrafabric_server.fleet.models import Status
from infrafabric_server.notify.charges import REPORTED
from infrafabric_server.optimise.models import FABRIC, Cost, swarm_account
from infrafabric_server.store.memory import MemoryData
from tests.unit.notify.world import ManualClock, World


def charged(world: World, swarm_id: str = "s") -> list[int]:
    """Return what was charged to a swarm for its reports, oldest first."""
    found = sorted(
        (id_, cost) for id_, cost in world.fabric.ledger.costs.items() if cost.swarm_id == swarm_id
    )
    return [cost.micros for _, cost in found if cost.operation == REPORTED]


async def test_n4_the_rise_of_a_total_is_charged_once() -> None:
    async with World() as world:
        for total in (300, 300, 500, 0, 500):
            await world.report("s", Status.BUSY, cost_spent_micros=total)
        assert charged(world) == [300, 200]
        assert world.fabric.ledger.total(FABRIC) == 500
        entries = (await world.store.range("outbox/", limit=100)).kvs
        assert sum("cost_tracked" in entry.value for entry in entries) == 2


async def test_n4_a_restarted_client_is_charged_its_whole_total() -> None:
    async with World() as world:
        for total in (300, 100):
            await world.report("s", Status.BUSY, cost_spent_micros=total)
        assert charged(world) == [300, 100]


@pytest.mark.parametrize("registered", [False, True])
async def test_n4_a_swarm_that_was_deregistered_is_not_charged_its_whole_total_again(
    *, registered: bool
) -> None:
    data, clock = MemoryData(), ManualClock()
    async with World(data, clock=clock) as world:
        await world.report("s", Status.BUSY, cost_spent_micros=300)
        await leave(world)
    clock.advance(timedelta(minutes=1))
    async with World(data, clock=clock) as world:
        for total in (350, 360):
            if registered:
                await world.coordinator.register_swarm("s")
            await world.report("s", Status.BUSY, cost_spent_micros=total)
            await leave(world)
        await world.report("s", Status.BUSY, cost_spent_micros=360)
        status = world.status("s")
        assert status is not None
        assert status.cost_spent_micros == 360
        assert world.fabric.ledger.total(FABRIC) == 360


@pytest.mark.parametrize("reported", [0, 100])
async def test_n4_a_completion_just_before_the_swarm_left_is_not_charged_again(
    reported: int,
) -> None:
    async with World() as world:
        await world.report("s", Status.IDLE, cost_spent_micros=reported)
        await world.work("s", "t")
        await world.complete("s", "t", cost_micros=250)
        await leave(world)
        await world.report("s", Status.BUSY, cost_spent_micros=reported + 250)
        assert sum(charged(world)) == reported


async def test_n4_the_totals_of_a_deregistered_swarm_are_forgotten_after_a_day() -> None:
    clock = ManualClock()
    async with World(clock=clock) as world:
        for hours, known in ((0, True), (23, True), (23, True), (25, False)):
            clock.advance(timedelta(hours=hours))
            await world.notify.departed_sweeper.sweep()
            assert ("s" in world.fabric.fleet.departed) is (known and hours > 0)
            if known:
                await world.report("s", Status.BUSY, cost_spent_micros=300)
                await leave(world)
        await world.report("s", Status.BUSY, cost_spent_micros=300)
        assert charged(world) == [300, 300]


async def leave(world: World) -> None:
    """Deregister `s`, and wait until its status is gone."""
    await world.coordinator.registration.deregister("s")
    await world.until(lambda: world.status("s") is None)


async def test_n4_a_swarm_with_a_session_is_charged_by_its_frames() -> None:
    async with World() as world:
        await world.connect("s")
        await world.report("s", Status.BUSY, cost_spent_micros=300)
        await world.report("s", Status.BUSY, cost_spent_micros=400, by_session=True)
        status = world.status("s")
        assert status is not None
        assert status.cost_spent_micros == 400
        assert charged(world) == []


async def test_n4_a_completion_is_not_charged_again_by_the_total() -> None:
    async with World() as world:
        await world.report("s", Status.IDLE, cost_spent_micros=100)
        await world.work("s", "t")
        await world.complete("s", "t", cost_micros=250)
        await world.becomes("s", Status.IDLE, cost_spent_micros=350)
        await world.report("s", Status.BUSY, cost_spent_micros=400)
        assert charged(world) == [100, 50]
        assert world.fabric.ledger.total(swarm_account("s")) == 400


async def test_n4_reports_at_one_moment_charge_what_the_status_says() -> None:
    async with World() as world:
        totals = range(10, 210, 10)
        reports = (world.report("s", Status.BUSY, cost_spent_micros=total) for total in totals)
        await asyncio.gather(*reports)
        status = world.status("s")
        assert status is not None
        stored = (await world.store.range("ledger/", limit=100)).kvs
        entered = sum(Cost.model_validate_json(kv.value).micros for kv in stored)
        assert entered == status.cost_spent_micros == sum(charged(world))
