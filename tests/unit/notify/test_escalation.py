"""N8: a blocker that lasts is brought before the orchestrator again."""

import asyncio
from datetime import timedelta

from infrafabric_server.clock import SystemClock
from infrafabric_server.fleet.models import Status
from infrafabric_server.store.memory import MemoryData
from tests.unit.notify.world import ManualClock, World

HALF_HOUR = timedelta(minutes=30)


def escalations(world: World) -> list[int]:
    return [alert.escalations for alert in world.notify.open_blockers()]


async def escalated(world: World, count: int) -> None:
    await world.until(lambda: escalations(world) == [count])


async def test_n8_blocked_is_escalated_again_every_thirty_minutes() -> None:
    clock = ManualClock()
    async with World(clock=clock) as world:
        await world.report("s", Status.BLOCKED, message="why")
        clock.advance(HALF_HOUR - timedelta(seconds=1))
        world.notify.escalation.check()
        assert escalations(world) == [0]
        for count in (1, 2, 3):
            clock.advance(timedelta(seconds=1) if count == 1 else HALF_HOUR)
            world.notify.escalation.check()
            await escalated(world, count)


async def test_n8_a_repeated_report_updates_the_incident_and_delays_nothing() -> None:
    clock = ManualClock()
    async with World(clock=clock) as world:
        for _ in range(3):
            await world.report("s", Status.BLOCKED, message="why")
            clock.advance(timedelta(minutes=10))
        world.notify.escalation.check()
        await escalated(world, 1)


async def test_n8_a_resolved_incident_is_not_escalated() -> None:
    clock = ManualClock()
    async with World(clock=clock) as world:
        await world.report("s", Status.BLOCKED, message="why")
        await world.coordinator.resolve_blocker("s", "", "plugged in")
        clock.advance(HALF_HOUR)
        world.notify.escalation.check()
        await world.report("other", Status.BLOCKED, message="why")
        clock.advance(HALF_HOUR)
        world.notify.escalation.check()
        await escalated(world, 1)
        resolved = world.coordinator.blockers.get("s/-")
        assert resolved is not None
        assert resolved.escalations == 0


async def test_n8_what_fell_due_while_no_server_ran_is_made_up_for_once() -> None:
    data, clock = MemoryData(), ManualClock()
    async with World(data, clock=clock) as world:
        await world.report("s", Status.BLOCKED, message="why")
    clock.advance(10 * HALF_HOUR)
    async with World(data, clock=clock) as world:
        await escalated(world, 1)
        world.notify.escalation.check()
        clock.advance(HALF_HOUR - timedelta(seconds=1))
        world.notify.escalation.check()
        await world.notify.settled()
        assert escalations(world) == [1]
        clock.advance(timedelta(seconds=1))
        world.notify.escalation.check()
        await escalated(world, 2)


async def test_n8_it_happens_by_itself_when_the_time_has_come() -> None:
    async with World(clock=SystemClock(), escalate_after=timedelta(milliseconds=50)) as world:
        await world.report("s", Status.BLOCKED, message="why")
        async with asyncio.timeout(10):
            await world.until(lambda: escalations(world) >= [2])
