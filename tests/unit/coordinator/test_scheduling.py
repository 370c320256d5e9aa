"""Tasks find a swarm also when its session ends in the very moment that it is chosen."""

import asyncio

from infrafabric_server.coordinator.frames import ClosingAction
from infrafabric_server.coordinator.models import Dispatch, Task, TaskState
from tests.harness.fabric import Fabric, new_task


def holder(task: Task) -> str:
    """Return who holds a task, or nothing."""
    return task.claim.swarm_id if task.claim is not None else ""


async def test_c4_a_stream_that_has_ended_is_passed_over_for_the_next_best(
    fabric: Fabric,
) -> None:
    best = await fabric.join("best", {"x"})
    await fabric.join("second", {"x"}, cost=5_000_000)
    best.end(ClosingAction.RESUME, "the reader was too slow")
    (created,) = await fabric.create(new_task("t", needs={"x"}))
    assert holder(created) == "second"


async def test_c5_a_stream_that_has_ended_is_passed_over_by_hand(fabric: Fabric) -> None:
    best = await fabric.join("best", {"x"})
    await fabric.join("second", {"x"}, cost=5_000_000)
    await fabric.create(new_task("t", needs={"x"}, dispatch=Dispatch.MANUAL))
    best.end(ClosingAction.RESUME, "the reader was too slow")
    placed = await fabric.coordinator.placing.assign("t")
    assert holder(placed.task) == "second"


async def test_c4_a_task_that_comes_back_while_it_is_being_assigned_still_finds_a_swarm(
    fabric: Fabric,
) -> None:
    await fabric.coordinator.register_swarm("caller", frozenset())
    await fabric.create(new_task("t", needs={"x"}))
    await fabric.join("s", {"x"})
    scheduler = fabric.parts.scheduler
    # Taken in the dispatcher's place, to be written late.
    (assignment,) = scheduler.settle()
    assert (await fabric.coordinator.claim_task("caller", "t")).claimed
    await fabric.coordinator.claims.release("caller", "t", 1, "not mine")
    await fabric.settled()
    scheduler.done(assignment)
    fabric.parts.dispatcher.wake()
    await fabric.settled()
    assert holder(fabric.task("t")) == "s"


async def test_c7_a_ready_task_is_not_lost_with_the_session_that_was_to_have_it(
    fabric: Fabric,
) -> None:
    await fabric.coordinator.register_swarm("caller", frozenset())
    await fabric.create(
        new_task("first", dispatch=Dispatch.MANUAL), new_task("then", "first", needs={"x"})
    )
    await fabric.coordinator.claim_task("caller", "first")
    await fabric.join("s", {"x"})
    # Another stream of the swarm takes over while the assignment to the first one is written.
    await asyncio.gather(
        fabric.coordinator.claims.complete("caller", "first", 1, result_json="{}", cost_micros=0),
        fabric.join("s", {"x"}),
    )
    await fabric.settled()
    assert fabric.task("then").state is TaskState.CLAIMED
