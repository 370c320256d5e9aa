"""Violations of the policy: noted once in a while, whatever replica met them, and forgotten."""

import asyncio
from datetime import timedelta

from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.governor.escalation.violations import QUIET, Violations, broken_cause
from infrafabric_server.governor.models import Violation
from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.store.mirror import Mirror
from tests.unit.notify.world import ManualClock

RULE = Violation("night", "no work at night", "ab" * 32)


async def test_g8_a_broken_rule_wants_a_person_until_nothing_breaks_it_for_an_hour() -> None:
    clock = ManualClock()
    store = await MemoryStore.open(MemoryData())
    mirror = Mirror(store)
    violations = Violations(mirror, clock, SoleLeader())
    await mirror.start()
    noted = asyncio.Event()
    violations.view.subscribe(lambda _change: noted.set())
    running = asyncio.create_task(violations.run())
    begin = clock.now()
    for number in range(100):
        violations.note("anna", f"t{number}", RULE)
    await noted.wait()
    first = violations.view.get("night")
    assert first is not None
    cause = broken_cause(first)
    assert (cause.escalation_id, cause.since) == ("policy:night", begin)
    assert cause.summary == (
        "rule night of the policy kept tasks from swarms, such as t99 from anna: no work at night"
    )
    clock.advance(timedelta(seconds=59))
    revision = await store.revision()
    violations.note("ben", "t", RULE)
    clock.advance(timedelta(seconds=1))
    noted.clear()
    violations.note("cleo", "t", RULE)
    await noted.wait()
    broken = violations.view.get("night")
    assert broken is not None
    assert (broken.swarm_id, broken.since, broken.time) == ("cleo", begin, clock.now())
    assert await store.revision() == revision + 1
    clock.advance(QUIET - timedelta(seconds=1))
    await violations.sweep()
    assert "night" in violations.view
    clock.advance(timedelta(seconds=1))
    await violations.sweep()
    assert "night" not in violations.view
    running.cancel()
    await store.close()
