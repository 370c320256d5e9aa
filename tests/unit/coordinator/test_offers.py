"""Offers that nobody could see, that nobody could take, or that were in the way."""

from infrafabric_server.coordinator.frames import Delivery
from infrafabric_server.coordinator.models import BlockerReport, Dispatch, Refusal, TaskState
from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.witness.models import Draft
from tests.harness.fabric import Fabric, new_task, running_fabric
from tests.unit.coordinator.links import pushed, said
from tests.unit.coordinator.money import stored


async def test_c5_an_offer_to_a_session_that_ended_with_the_server_is_taken_back() -> None:
    data = MemoryData()
    store = await MemoryStore.open(data)
    async with running_fabric(store) as fabric:
        link = await fabric.join("s")
        await fabric.create(new_task("t", needs={"x"}))
        await fabric.coordinator.push_task_to_swarm("s", "t")
    # The lease ends in the last moment of the server, which does nothing about it.
    await store.revoke(link.lease)
    await store.close()
    store = await MemoryStore.open(data)
    async with running_fabric(store) as fabric:
        await fabric.settled()
        assert fabric.task("t").offered_to == ""
    await store.close()


async def test_c5_an_offer_to_a_swarm_that_only_supervises_now_is_taken_back(
    fabric: Fabric,
) -> None:
    await fabric.join("s")
    await fabric.create(new_task("t", needs={"x"}))
    await fabric.coordinator.push_task_to_swarm("s", "t")
    await fabric.join("s", role=SessionRole.ORCHESTRATOR)
    await fabric.settled()
    assert fabric.task("t").offered_to == ""


async def test_c9_a_blocked_swarm_sees_the_fillers_behind_other_broadcasts(
    fabric: Fabric,
) -> None:
    await fabric.create(
        new_task("regular", dispatch=Dispatch.BROADCAST),
        new_task("filler", filler=True, dispatch=Dispatch.BROADCAST, position=1),
    )
    await fabric.coordinator.register_swarm("s", frozenset({"any"}))
    await fabric.coordinator.detect_blocker("s", BlockerReport(description="no key"))
    link = await fabric.join("s")
    assert pushed(await said(link)) == [("filler", Delivery.OFFERED)]


async def test_c5_an_offer_keeps_one_slot_free_and_no_more(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"}, slots=2)
    await fabric.create(new_task("offered", dispatch=Dispatch.MANUAL))
    await fabric.coordinator.push_task_to_swarm("s", "offered")
    await fabric.create(*(new_task(f"t{i}", needs={"x"}, position=i) for i in range(2)))
    await fabric.settled()
    states = [fabric.task(name).state for name in ("t0", "t1")]
    assert states == [TaskState.CLAIMED, TaskState.AVAILABLE]
    assert (await fabric.coordinator.claims.claim("s", "offered", link.epoch)).claimed


async def test_c5_an_assignment_by_hand_takes_an_offer_back_and_the_log_says_so(
    fabric: Fabric,
) -> None:
    wanted = await fabric.join("wanted", {"y"})
    await fabric.join("best", {"x"})
    await fabric.create(new_task("t", needs={"x"}, dispatch=Dispatch.MANUAL))
    await fabric.coordinator.push_task_to_swarm("wanted", "t")
    await fabric.coordinator.placing.assign("t")
    await fabric.settled()
    held = fabric.task("t").claim
    assert held is not None
    assert held.swarm_id == "best"
    entries = [Draft.model_validate_json(kv.value) for kv in await stored(fabric.store, "outbox/")]
    assert [(each.operation, each.swarm_id) for each in entries if each.task_id][-3:] == [
        ("task_pushed", "wanted"),
        ("offer_withdrawn", "wanted"),
        ("task_assigned", "best"),
    ]
    lost = await fabric.coordinator.claims.claim("wanted", "t", wanted.epoch)
    assert lost.refusal is Refusal.ALREADY_CLAIMED
