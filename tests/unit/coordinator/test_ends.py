"""How claims end before their tasks do: lost, taken over, given back, called off."""

import asyncio
from datetime import timedelta

import pytest

from infrafabric_server.coordinator.frames import Closing, Delivery, Opened, Revoked, RevokeReason
from infrafabric_server.coordinator.models import FailureKind, RetryPolicy, TaskState
from infrafabric_server.errors import FabricError, Reason
from tests.harness.fabric import Fabric, new_task
from tests.unit.coordinator.links import pushed, said


async def test_c10_a_lost_session_gives_its_tasks_back_under_a_higher_attempt(
    fabric: Fabric,
) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("t", needs={"x"}))
    heir = await fabric.join("heir", {"x"})
    await fabric.store.revoke(link.lease)
    await fabric.settled()
    task = fabric.task("t")
    assert task.claim is not None
    assert (task.claim.swarm_id, task.attempt) == ("heir", 2)
    assert pushed(await said(heir)) == [("t", Delivery.ASSIGNED)]
    with pytest.raises(FabricError) as refused:
        await complete_as(fabric, "s", link.epoch)
    assert refused.value.reason is Reason.SESSION_EXPIRED


async def complete_as(fabric: Fabric, swarm_id: str, epoch: int | None) -> None:
    """Complete the first attempt of task `t`, as a stale holder would."""
    await fabric.coordinator.claims.complete(
        swarm_id, "t", 1, result_json="{}", cost_micros=0, epoch=epoch
    )


async def test_c10_a_resumed_stream_keeps_its_claims_and_its_token(fabric: Fabric) -> None:
    first = await fabric.join("s", {"x"})
    opened = (await said(first))[0]
    assert isinstance(opened, Opened)
    await fabric.create(new_task("t", needs={"x"}))
    second = await fabric.join("s", token=opened.resume_token)
    again = (await said(second))[0]
    assert isinstance(again, Opened)
    assert again.resumed
    assert again.resume_token == opened.resume_token
    assert [(held.task_id, held.attempt) for held in again.owned] == [("t", 1)]
    assert isinstance((await said(first))[-1], Closing)


async def test_c10_a_stranger_takes_over_under_new_attempts(fabric: Fabric) -> None:
    first = await fabric.join("s", {"x"})
    await fabric.create(new_task("t", needs={"x"}))
    second = await fabric.join("s")
    await fabric.settled()
    frames = await said(second)
    assert pushed(frames) == [("t", Delivery.RETURNED)]
    assert fabric.task("t").attempt == 2
    with pytest.raises(FabricError) as fenced:
        await complete_as(fabric, "s", first.epoch)
    assert fenced.value.reason is Reason.SESSION_FENCED
    with pytest.raises(FabricError) as stale:
        await complete_as(fabric, "s", second.epoch)
    assert stale.value.reason is Reason.STALE_ATTEMPT


async def test_c11_a_release_gives_the_task_to_another(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("t", needs={"x"}))
    await fabric.coordinator.claims.release("s", "t", 1, "not mine", link.epoch)
    await fabric.settled()
    assert fabric.task("t").state is TaskState.AVAILABLE
    await fabric.join("other", {"x"})
    await fabric.settled()
    task = fabric.task("t")
    assert task.claim is not None
    assert (task.claim.swarm_id, task.attempt) == ("other", 2)


async def test_c11_cancel_tells_the_holder(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("t", needs={"x"}), new_task("u", "t"))
    await said(link)
    await fabric.coordinator.endings.cancel("t", "not needed")
    await fabric.settled()
    revoked = [frame for frame in await said(link) if isinstance(frame, Revoked)]
    assert [(f.task_id, f.attempt, f.reason) for f in revoked] == [("t", 1, RevokeReason.CANCELLED)]
    assert fabric.task("u").state is TaskState.CANCELLED


async def test_c11_a_failed_task_is_tried_again_after_its_wait(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"})
    retry = RetryPolicy(initial_backoff=timedelta(milliseconds=30))
    await fabric.create(new_task("t", needs={"x"}, retry=retry))
    retried = asyncio.Event()
    fabric.coordinator.tasks.subscribe(
        lambda change: retried.set() if change.new and change.new.attempt == 2 else None
    )
    await fabric.coordinator.claims.fail(
        "s", "t", 1, reason="", kind=FailureKind.RETRYABLE, retry_time=None, epoch=link.epoch
    )
    await asyncio.wait_for(retried.wait(), 5)
    assert fabric.task("t").failures == 1


async def test_a_declined_task_goes_to_another_and_not_back(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("t", needs={"x"}))
    with link.ending("t"):
        await fabric.coordinator.placing.decline(link, "t", 1)
    await fabric.settled()
    assert fabric.task("t").state is TaskState.AVAILABLE
    await fabric.join("other", {"x"})
    await fabric.settled()
    assert fabric.coordinator.held_by("other") == ["t"]


async def test_c3_a_deregistered_swarm_gives_everything_back(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("t", needs={"x"}))
    await fabric.join("other", {"x"})
    assert await fabric.coordinator.registration.deregister("s") == ["t"]
    await fabric.settled()
    assert fabric.coordinator.held_by("other") == ["t"]
    assert not link.live
