"""What a replica does by itself that does not lead."""

from datetime import timedelta

import pytest

from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.models import Dispatch, FailureKind, RetryPolicy, TaskState
from infrafabric_server.fleet.leadership import Listener, SoleLeader
from infrafabric_server.store.memory import MemoryStore
from tests.contract.clock import SteppedClock
from tests.harness.fabric import new_task, running_fabric


class Follower(SoleLeader):
    """A replica beside a leader that does nothing, as one that hears of all too late."""

    @property
    def leading(self) -> bool:
        return False

    @property
    def term(self) -> int | None:
        return None

    def follow(self, listener: Listener) -> None:
        del listener


@pytest.mark.parametrize("dispatch", [Dispatch.AUTO, Dispatch.BROADCAST])
async def test_c11_a_wait_after_a_failure_ends_also_when_the_leader_has_nothing_to_write(
    dispatch: Dispatch,
) -> None:
    store = await MemoryStore.open()
    clock = SteppedClock()
    retry = RetryPolicy(initial_backoff=timedelta(seconds=1))
    async with running_fabric(
        store, clock=clock, limits=Limits(lease=60.0), leadership=Follower()
    ) as fabric:
        await fabric.coordinator.register_swarm("caller", frozenset())
        await fabric.create(new_task("t", needs={"x"}, dispatch=dispatch, retry=retry))
        await fabric.coordinator.claim_task("caller", "t")
        link = await fabric.join("s", {"x"})
        await fabric.coordinator.claims.fail(
            "caller", "t", 1, reason="no", kind=FailureKind.RETRYABLE, retry_time=None
        )
        await clock.settle(store)
        assert fabric.task("t").state is TaskState.AVAILABLE
        assert "t" not in link.offered
        # The wait, and then the moment for which a task is left to the leader.
        for _ in range(2):
            await clock.advance(1.5)
            fabric.parts.timers.fire()
            await fabric.settled()
        if dispatch is Dispatch.AUTO:
            held = fabric.task("t").claim
            assert held is not None
            assert held.swarm_id == "s"
        else:
            assert "t" in link.offered
    await store.close()
