"""Sessions at their edges: taken over, silent about a task, closing, draining, one too many."""

import asyncio

import pytest

from infrafabric.v1 import session_client_pb2 as pb
from infrafabric_server.clock import SystemClock
from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.frames import Delivery, Reply, StatusAnswer
from infrafabric_server.coordinator.models import BlockerReport, Dispatch, TaskState
from infrafabric_server.coordinator.service.inbox import Inbox
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.witness.outbox import Outbox
from tests.harness.fabric import Fabric, new_task, running_fabric
from tests.unit.coordinator.links import pushed, said


async def no_status(swarm_id: str, frame: pb.StatusFrame) -> StatusAnswer:
    """Take no status report."""
    raise AssertionError(f"{swarm_id} reported {frame}")


async def test_c10_a_claim_made_outside_a_session_is_not_taken_over_by_one(
    fabric: Fabric,
) -> None:
    await fabric.coordinator.register_swarm("s", frozenset())
    await fabric.create(new_task("t", dispatch=Dispatch.MANUAL))
    await fabric.coordinator.claim_task("s", "t")
    await fabric.join("s")
    await fabric.join("s")
    done = await fabric.coordinator.claims.complete("s", "t", 1, result_json="{}", cost_micros=0)
    assert done.state is TaskState.COMPLETED


async def test_c10_a_stranger_that_comes_before_a_lost_claim_is_taken_back_fences_it(
    fabric: Fabric,
) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("t", needs={"x"}))
    await asyncio.gather(fabric.store.revoke(link.lease), fabric.join("s", {"x"}))
    await fabric.settled()
    # Whether it was taken over or given anew: what the earlier process says is stale.
    assert fabric.task("t").attempt == 2
    assert fabric.task("t").state is TaskState.CLAIMED


async def test_c4_who_does_not_acknowledge_is_given_nothing_until_it_is_heard_of() -> None:
    store = await MemoryStore.open()
    # An acknowledgement cannot come in time.
    async with running_fabric(store, limits=Limits(ack=0.0)) as fabric:
        link = await fabric.join("s", {"x"})
        await fabric.create(new_task("first", needs={"x"}))
        await fabric.settled()
        await fabric.create(new_task("second", needs={"x"}))
        await fabric.settled()
        assert pushed(await said(link)) == [("first", Delivery.ASSIGNED)]
        assert fabric.task("second").state is TaskState.AVAILABLE

        inbox = Inbox(fabric.coordinator, link, no_status, fabric.coordinator.background)
        await inbox.put(pb.ClientFrame(heartbeat=pb.HeartbeatFrame()))
        await fabric.settled()
        assert pushed(await said(link)) == []
        late = pb.AckFrame(task_id="first", attempt=1)
        await inbox.put(pb.ClientFrame(request_id="late", ack=late))
        await fabric.settled()
        frames = await said(link)
        assert pushed(frames) == [("second", Delivery.ASSIGNED)]
        (reply,) = [frame.answer for frame in frames if isinstance(frame, Reply)]
        assert isinstance(reply, FabricError)
        assert reply.reason is Reason.STALE_ATTEMPT
    await store.close()


async def test_c11_a_session_that_closes_is_not_given_its_own_tasks_again(
    fabric: Fabric,
) -> None:
    link = await fabric.join("s", {"x"}, slots=3)
    names = ["a", "b", "c"]
    await fabric.create(*(new_task(name, needs={"x"}) for name in names))
    await fabric.coordinator.sessions.close(link, "bye")
    await fabric.settled()
    assert [fabric.task(name).attempt for name in names] == [1, 1, 1]


async def test_c11_a_session_whose_end_cannot_be_written_goes_on() -> None:
    store = await MemoryStore.open()
    waiting: list[str] = []
    outbox = Outbox(SystemClock(), "test", waiting, limit=1)
    async with running_fabric(store, outbox=outbox) as fabric:
        link = await fabric.join("s", {"x"})
        waiting.append("an entry")
        with pytest.raises(FabricError) as refused:
            await fabric.coordinator.sessions.close(link, "bye")
        assert refused.value.reason is Reason.OUTBOX_FULL
        waiting.clear()
        await said(link)
        await fabric.create(new_task("t", needs={"x"}))
        await fabric.settled()
        assert pushed(await said(link)) == [("t", Delivery.ASSIGNED)]
    await store.close()


async def test_a_session_that_opens_while_the_server_drains_is_sent_away(fabric: Fabric) -> None:
    opening = asyncio.create_task(fabric.join("s"))
    await asyncio.sleep(0)
    fabric.coordinator.sessions.drain("the server stops")
    assert not (await opening).live


async def test_a_lease_that_ends_before_its_session_is_written_is_granted_anew(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = fabric.store.grant
    granted: list[int] = []

    async def slow(ttl: float) -> int:
        granted.append(await grant(ttl))
        if len(granted) == 1:
            await fabric.store.revoke(granted[0])
        return granted[-1]

    monkeypatch.setattr(fabric.store, "grant", slow)
    link = await fabric.join("s")
    assert link.lease == granted[1]


async def test_a_session_is_no_way_around_the_limit_of_swarms(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrafabric_server.coordinator.registration.MAX_SWARMS", 1)
    await fabric.join("first")
    with pytest.raises(FabricError) as refused:
        await fabric.join("second")
    assert refused.value.reason is Reason.LIMIT_REACHED
    assert (await fabric.join("first")).live


async def test_c10_a_worker_that_comes_back_to_supervise_gives_its_tasks_back(
    fabric: Fabric,
) -> None:
    await fabric.join("s", {"x"})
    await fabric.create(new_task("t", needs={"x"}))
    report = BlockerReport(task_id="t", attempt=1, description="no key")
    await fabric.coordinator.blocking.report("s", report)
    await fabric.join("s", {"x"}, role=SessionRole.ORCHESTRATOR)
    await fabric.settled()
    assert fabric.task("t").state is TaskState.AVAILABLE
    assert fabric.coordinator.records.open_blocker("s", "t") is None
    await fabric.join("other", {"x"})
    await fabric.settled()
    assert (fabric.task("t").last_owner, fabric.task("t").attempt) == ("other", 2)
