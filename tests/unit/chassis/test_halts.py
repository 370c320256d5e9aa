"""X1: a run ends with its swarm's right to work, and is told so whatever happens meanwhile."""

import asyncio

import pytest

from infrafabric_server.chassis.halts import Halts
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.store.memory import MemoryStore
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, running_fabric


async def _stop(fabric: Fabric, swarm_id: str) -> None:
    await fabric.breakers.trip(swarm_id, BreakerCause.MANUAL, "smoke")


async def test_x1_a_run_that_was_stopped_says_so_though_the_breaker_is_closed_again() -> None:
    clock = SteppedClock()
    store = await MemoryStore.open(clock=clock)
    async with running_fabric(store, clock=clock) as fabric:
        await fabric.coordinator.register_swarm("s", frozenset({"any"}))
        await fabric.coordinator.register_swarm("other", frozenset({"any"}))
        halts = Halts(fabric.breakers.gate, fabric.breakers.records)
        closed_again, ended_well = asyncio.Event(), False

        async def work() -> None:
            nonlocal ended_well
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await closed_again.wait()
                ended_well = True

        running = asyncio.create_task(halts.run("s", work()))
        await fabric.settled()
        await _stop(fabric, "s")
        # More changes must not cut short how it ends.
        await _stop(fabric, "other")
        await fabric.breakers.reset("s", "ada@example.org", "it was a drill")
        await fabric.settled()
        closed_again.set()
        with pytest.raises(FabricError, match="smoke") as refusal:
            await running
        assert refusal.value.reason is Reason.BREAKER_OPEN
        assert refusal.value.certain
        assert ended_well
    await store.close()
