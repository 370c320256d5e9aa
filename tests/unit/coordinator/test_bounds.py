"""What callers say costs no memory that is not given back, and no more than it may."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from grpc import StatusCode

from infrafabric.v1 import session_client_pb2 as pb
from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from infrafabric_server.coordinator.background import Background
from infrafabric_server.coordinator.models import BlockerReport, Dispatch, Refusal, TaskState
from infrafabric_server.coordinator.service.stream import serve_session
from infrafabric_server.edge.error_table import code_number, status_of
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.protocol import Put, StoreRefused, StoreUnavailable
from tests.harness.fabric import Fabric, new_task
from tests.unit.coordinator.links import complete, said
from tests.unit.coordinator.test_sessions import no_status


async def test_c11_a_release_that_is_refused_keeps_no_task_from_anybody(fabric: Fabric) -> None:
    await fabric.coordinator.register_swarm("caller", frozenset())
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("first", needs={"x"}), new_task("t", needs={"x"}, position=1))
    await fabric.coordinator.claim_task("caller", "t")
    for task_id in ("t", "unknown"):
        with pytest.raises(FabricError):
            await fabric.coordinator.claims.release("s", task_id, 1, "not mine")
    await fabric.coordinator.claims.release("caller", "t", 1, "not mine")
    await fabric.coordinator.claims.release("s", "first", 1, "not mine either")
    await fabric.settled()
    assert link.working == {"t": 2}


async def test_declined_tasks_are_forgotten_when_they_have_ended(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("lasting", needs={"x"}, dispatch=Dispatch.BROADCAST))
    await fabric.coordinator.placing.decline(link, "lasting", 0)
    for number in range(1_100):
        await fabric.create(new_task(f"t{number}", needs={"x"}, dispatch=Dispatch.BROADCAST))
        await fabric.coordinator.placing.decline(link, f"t{number}", 0)
        await fabric.coordinator.endings.cancel(f"t{number}", "enough")
        await said(link)
    assert len(link.declined) < 100
    assert "lasting" in link.declined


async def test_others_have_their_turn_while_all_tasks_are_looked_through(fabric: Fabric) -> None:
    await fabric.create(*(new_task(f"t{n}", dispatch=Dispatch.MANUAL) for n in range(1_000)))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await asyncio.sleep(0)
    before = turns
    assert len([task async for task in fabric.coordinator.records.all_tasks("")]) == 1_000
    assert turns >= before + 3
    beside.cancel()


async def test_a_task_that_is_archived_while_all_are_listed_is_not_missed(fabric: Fabric) -> None:
    coordinator = fabric.coordinator
    names = [f"t{n:03}" for n in range(600)]
    await fabric.create(*(new_task(each, dispatch=Dispatch.MANUAL) for each in names))

    async def archive(*task_ids: str) -> None:
        for task_id in task_ids:
            await coordinator.endings.cancel(task_id, "")
            await coordinator.endings.archive(task_id)

    await archive("t000", "t300", "t599")
    listed = []
    async for task in coordinator.records.all_tasks(""):
        listed.append(task.task_id)
        if task.task_id == "t001":
            await archive("t002", "t299", "t598")
        if task.task_id == "t597":
            await archive("t596", "t597")
    assert listed == names


async def test_c9_a_swarm_that_parks_task_after_task_can_still_be_taken_over(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrafabric_server.coordinator.capacity.MAX_HELD", 3)
    await fabric.coordinator.register_swarm("s", frozenset())
    await fabric.create(*(new_task(f"t{i}", dispatch=Dispatch.MANUAL) for i in range(4)))
    for number in range(3):
        assert (await fabric.coordinator.claim_task("s", f"t{number}")).claimed
        report = BlockerReport(task_id=f"t{number}", attempt=1, description="no key")
        await fabric.coordinator.detect_blocker("s", report)
    assert (await fabric.coordinator.claim_task("s", "t3")).refusal is Refusal.NO_SLOT


async def test_credit_where_there_is_no_limit_makes_none(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"}, slots=3)
    fabric.coordinator.sessions.add_credit(link, 1)
    created = await fabric.create(*(new_task(f"t{i}", needs={"x"}) for i in range(3)))
    assert [task.state for task in created] == [TaskState.CLAIMED] * 3


async def test_c9_no_blocker_outlives_the_swarm_that_it_is_about(fabric: Fabric) -> None:
    await fabric.coordinator.register_swarm("s", frozenset())
    await asyncio.gather(
        fabric.coordinator.registration.deregister("s"),
        fabric.coordinator.detect_blocker("s", BlockerReport(description="no key")),
        return_exceptions=True,
    )
    assert len(fabric.coordinator.blockers) == 0


async def test_c11_a_repeat_is_accepted_when_the_task_is_archived(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("t", needs={"x"}))
    await complete(fabric, link, "t")
    await fabric.coordinator.endings.archive("t")
    again = await fabric.coordinator.claims.complete("s", "t", 1, result_json="{}", cost_micros=0)
    assert again.state is TaskState.COMPLETED
    with pytest.raises(FabricError) as refused:
        await fabric.coordinator.endings.cancel("t", "too late")
    assert refused.value.reason is Reason.TASK_ENDED
    assert fabric.coordinator.tasks.get("t") is None


async def test_what_is_damaged_in_the_store_is_no_fault_of_the_caller(fabric: Fabric) -> None:
    await fabric.store.txn([], [Put("archive/t", '{"attempt": "many"}')])
    with pytest.raises(StoreRefused, match="archive/t is no valid Task") as refused:
        await fabric.coordinator.endings.cancel("t", "why not")
    assert status_of(refused.value).code == code_number(StatusCode.INTERNAL)


async def test_a_stream_whose_lease_cannot_be_renewed_ends_with_the_reason(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(lease: int) -> None:
        raise StoreUnavailable(f"lease {lease} is out of reach")

    async def frames() -> AsyncIterator[OpenSessionRequest]:
        yield OpenSessionRequest(frames=[pb.ClientFrame(open=pb.OpenFrame(swarm_id="s"))])
        yield OpenSessionRequest(frames=[pb.ClientFrame(heartbeat=pb.HeartbeatFrame())])

    class Wire:
        async def write(self, message: OpenSessionResponse) -> None:
            """Take a message."""

    monkeypatch.setattr(fabric.store, "keepalive", broken)
    with pytest.raises(FabricError) as refused:
        await serve_session(fabric.coordinator, no_status, frames(), Wire())
    assert refused.value.reason is Reason.STORE_UNAVAILABLE


async def test_thousands_of_consequences_take_their_turns() -> None:
    background = Background()
    running = asyncio.create_task(background.run())
    await asyncio.sleep(0)
    done = asyncio.Event()
    at_once: list[int] = []
    waiting = 0

    async def work() -> None:
        nonlocal waiting
        waiting += 1
        at_once.append(waiting)
        await asyncio.sleep(0)
        waiting -= 1
        if len(at_once) == 2_000 and not waiting:
            done.set()

    for number in range(2_000):
        background.spawn(str(number), work)
    await done.wait()
    assert max(at_once) <= 256
    running.cancel()
    await asyncio.wait([running])
