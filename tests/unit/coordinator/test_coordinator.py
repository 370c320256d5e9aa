"""The coordinator's promises, one requirement at a time, without a network."""

import asyncio

import pytest

from infrafabric_server.coordinator.frames import Alert, Delivery
from infrafabric_server.coordinator.models import (
    BlockerReport,
    Dispatch,
    FailureKind,
    Refusal,
    TaskState,
)
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import SessionRole
from tests.harness.fabric import Fabric, new_task
from tests.unit.coordinator.links import complete, pushed, said


def parked(fabric: Fabric, task_id: str) -> bool:
    """Tell whether the claim of a task is parked."""
    claim = fabric.task(task_id).claim
    assert claim is not None
    return claim.parked


async def test_c1_one_of_many_claimants_wins_and_all_others_learn_who(fabric: Fabric) -> None:
    names = [f"swarm-{i}" for i in range(64)]
    for name in names:
        await fabric.coordinator.register_swarm(name, frozenset({"x"}))
    await fabric.create(new_task("t", dispatch=Dispatch.MANUAL))
    outcomes = await asyncio.gather(*(fabric.coordinator.claim_task(name, "t") for name in names))
    winners = [name for name, outcome in zip(names, outcomes, strict=True) if outcome.claimed]
    assert len(winners) == 1
    assert {outcome.owner for outcome in outcomes} == {winners[0]}
    lost = {outcome.refusal for outcome in outcomes if not outcome.claimed}
    assert lost <= {Refusal.LOST_RACE, Refusal.ALREADY_CLAIMED}
    again = await fabric.coordinator.claim_task(winners[0], "t")
    assert again.claimed
    assert again.task is not None
    assert again.task.attempt == 1


async def test_c1_every_refusal_names_its_reason(fabric: Fabric) -> None:
    claim = fabric.coordinator.claim_task
    await fabric.coordinator.register_swarm("s", frozenset())
    await fabric.create(
        new_task("first", dispatch=Dispatch.MANUAL),
        new_task("later", "first", dispatch=Dispatch.MANUAL),
        new_task("other", dispatch=Dispatch.MANUAL),
    )
    assert (await claim("nobody", "first")).refusal is Refusal.SWARM_UNKNOWN
    assert (await claim("s", "nothing")).refusal is Refusal.TASK_NOT_FOUND
    assert (await claim("s", "later")).refusal is Refusal.NOT_AVAILABLE
    assert (await claim("s", "first")).claimed
    busy = await claim("s", "other")
    assert busy.refusal is Refusal.NO_SLOT
    assert busy.detail == "s works on as many tasks as it may, such as first"


async def test_c4_a_task_goes_to_a_free_session_in_the_transaction_that_creates_it(
    fabric: Fabric,
) -> None:
    link = await fabric.join("s", {"x"})
    await said(link)
    before = await fabric.store.revision()
    created = await fabric.create(new_task("t", needs={"x"}))
    assert created[0].state is TaskState.CLAIMED
    assert await fabric.store.revision() == before + 1
    assert pushed(await said(link)) == [("t", Delivery.ASSIGNED)]


async def test_c5_the_best_score_is_assigned_first(fabric: Fabric) -> None:
    await fabric.join("dear", {"x", "y"}, cost=20_000_000)
    await fabric.join("cheap", {"x", "y"}, cost=2_000_000)
    await fabric.join("unfit", {"z"})
    created = await fabric.create(*(new_task(f"t{i}", needs={"x", "y"}) for i in range(3)))
    owners = [task.claim.swarm_id if task.claim else None for task in created]
    assert owners == ["cheap", "dear", None]


async def test_c5_a_broadcast_is_seen_by_all_that_qualify_and_won_by_one(fabric: Fabric) -> None:
    links = [await fabric.join(name, {"x"}) for name in ("a", "b")]
    unfit = await fabric.join("c", {"y"})
    await fabric.create(new_task("t", needs={"x"}, dispatch=Dispatch.BROADCAST))
    for link in links:
        assert pushed(await said(link)) == [("t", Delivery.OFFERED)]
    assert pushed(await said(unfit)) == []
    outcomes = await asyncio.gather(
        *(fabric.coordinator.claims.claim(link.swarm_id, "t", link.epoch) for link in links)
    )
    assert sorted(outcome.claimed for outcome in outcomes) == [False, True]


async def test_c5_a_pushed_task_is_offered_to_one_swarm_which_claims_it(fabric: Fabric) -> None:
    wanted, other = await fabric.join("wanted", {"x"}), await fabric.join("other", {"y"})
    await fabric.create(new_task("t", dispatch=Dispatch.MANUAL))
    await fabric.coordinator.push_task_to_swarm("wanted", "t")
    await fabric.settled()
    assert pushed(await said(wanted)) == [("t", Delivery.OFFERED)]
    lost = await fabric.coordinator.claims.claim("other", "t", other.epoch)
    assert lost.refusal is Refusal.NOT_AVAILABLE
    assert (await fabric.coordinator.claims.claim("wanted", "t", wanted.epoch)).claimed


async def test_c5_a_push_needs_a_session(fabric: Fabric) -> None:
    await fabric.coordinator.register_swarm("away")
    await fabric.create(new_task("t", dispatch=Dispatch.MANUAL))
    with pytest.raises(FabricError) as refused:
        await fabric.coordinator.push_task_to_swarm("away", "t")
    assert refused.value.reason is Reason.NO_SESSION


async def test_c7_a_task_waits_for_its_last_dependency_and_is_pushed_then(
    fabric: Fabric,
) -> None:
    link = await fabric.join("s", {"x"}, slots=2)
    await fabric.create(
        new_task("a", needs={"x"}), new_task("b", needs={"x"}), new_task("c", "a", "b", needs={"x"})
    )
    await complete(fabric, link, "a")
    assert fabric.task("c").state is TaskState.BLOCKED
    await complete(fabric, link, "b")
    assert fabric.task("c").state is TaskState.CLAIMED


async def test_c7_what_depends_on_a_failed_task_is_called_off_and_says_why(
    fabric: Fabric,
) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("a", needs={"x"}), new_task("b", "a"), new_task("c", "b"))
    await fabric.coordinator.claims.fail(
        "s", "a", 1, reason="broken", kind=FailureKind.PERMANENT, retry_time=None, epoch=link.epoch
    )
    await fabric.settled()
    assert fabric.task("b").state is TaskState.CANCELLED
    assert fabric.task("b").reason == "dependency a is failed"
    assert fabric.task("c").state is TaskState.CANCELLED


async def test_c7_a_board_is_created_as_a_whole_or_not_at_all(fabric: Fabric) -> None:
    with pytest.raises(FabricError) as refused:
        await fabric.create(new_task("good"), new_task("bad", "ghost"))
    assert refused.value.reason is Reason.DEPENDENCY_UNKNOWN
    assert "good" not in fabric.coordinator.tasks


async def test_c7_a_repeated_request_creates_nothing_twice(fabric: Fabric) -> None:
    create = fabric.coordinator.creation.create
    first = await create([new_task("t")], "request-1")
    again = await create([new_task("t")], "request-1")
    assert [task.task_id for task in first] == [task.task_id for task in again]
    with pytest.raises(FabricError) as refused:
        await create([new_task("u")], "request-1")
    assert refused.value.reason is Reason.REQUEST_ID_REUSED


async def test_c7_a_repeat_may_name_the_needs_in_another_order(fabric: Fabric) -> None:
    names = [f"skill-{i}" for i in range(64)]
    spec, dispatch = new_task("t")
    forward, back = (
        spec.model_copy(update={"required_capabilities": frozenset(needs)})
        for needs in (names, names[::-1])
    )
    first = await fabric.coordinator.creation.create([(forward, dispatch)], "again")
    assert await fabric.coordinator.creation.create([(back, dispatch)], "again") == first


async def test_c9_a_blocked_swarm_gets_a_filler_and_then_its_own_task_back(
    fabric: Fabric,
) -> None:
    link = await fabric.join("s", {"x"})
    watcher = await fabric.join("boss", role=SessionRole.ORCHESTRATOR)
    await fabric.create(
        new_task("own", needs={"x"}),
        new_task("regular", needs={"x"}),
        new_task("filler", needs={"x"}, filler=True),
    )
    await said(link)
    report = BlockerReport(task_id="own", attempt=1, description="no key")
    await fabric.coordinator.blocking.report("s", report, link.epoch)
    await fabric.settled()
    assert pushed(await said(link)) == [("filler", Delivery.ASSIGNED)]
    assert fabric.task("regular").state is TaskState.AVAILABLE
    alerts = [frame for frame in await said(watcher) if isinstance(frame, Alert)]
    assert [alert.blocker.description for alert in alerts] == ["no key"]
    await fabric.coordinator.resolve_blocker("s", "own", "here it is")
    await fabric.settled()
    assert pushed(await said(link)) == [("own", Delivery.RETURNED)]
    await complete(fabric, link, "filler")
    await complete(fabric, link, "own")
    assert fabric.task("regular").state is TaskState.CLAIMED


async def test_c9_a_repeated_report_of_a_resolved_blocker_does_not_park_the_task_again(
    fabric: Fabric,
) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("own", needs={"x"}))
    report = BlockerReport(task_id="own", attempt=1, description="no key", request_id="r1")
    await fabric.coordinator.blocking.report("s", report, link.epoch)
    resolved = await fabric.coordinator.resolve_blocker("s", "own", "here it is")
    assert await fabric.coordinator.blocking.report("s", report, link.epoch) == resolved
    assert not parked(fabric, "own")
    # The id may be used again for something else: on another stream it is a new one.
    other = report.model_copy(update={"description": "no key again"})
    assert (await fabric.coordinator.blocking.report("s", other, link.epoch)).open
    assert parked(fabric, "own")


async def test_c8_a_repeated_milestone_changes_nothing(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("own", needs={"x"}))

    async def progress(percent: int, request_id: str) -> int:
        await fabric.coordinator.claims.progress(
            "s",
            "own",
            1,
            percent=percent,
            note="",
            blocked_on=(),
            next_action="",
            request_id=request_id,
        )
        entry = fabric.coordinator.records.tasks.entry("own")
        assert entry is not None
        return entry.mod_revision

    first = await progress(25, "r1")
    assert await progress(25, "r1") == first
    second = await progress(50, "r1")
    assert second > first
    third = await progress(50, "r2")
    assert third > second
    # Both were said at once, and the stream was cut before either was answered.
    await complete(fabric, link, "own")
    done = await progress(50, "r2")
    assert done > third
    with pytest.raises(FabricError, match="cannot change"):
        await progress(50, "r3")


async def test_c9_an_idle_swarm_with_nothing_else_to_do_gets_a_filler(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(
        new_task("filler", needs={"x"}, filler=True, priority=9), new_task("real", needs={"x"})
    )
    assert fabric.task("real").state is TaskState.CLAIMED
    await complete(fabric, link, "real")
    assert fabric.task("filler").state is TaskState.CLAIMED


async def test_c12_priority_then_age_and_no_younger_task_first(fabric: Fabric) -> None:
    await fabric.create(
        new_task("old", needs={"x"}),
        new_task("urgent", needs={"x"}, priority=5),
        new_task("young", needs={"x"}),
    )
    link = await fabric.join("s", {"x"})
    order = []
    for _ in range(3):
        await fabric.settled()
        held = fabric.coordinator.held_by("s")
        order += held
        await complete(fabric, link, held[0])
    assert order == ["urgent", "old", "young"]


async def test_credit_pauses_delivery_and_more_credit_resumes_it(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"}, slots=4, credit=1)
    await fabric.create(*(new_task(f"t{i}", needs={"x"}) for i in range(3)))
    await fabric.settled()
    assert len(pushed(await said(link))) == 1
    fabric.coordinator.sessions.add_credit(link, 1)
    await fabric.settled()
    assert len(pushed(await said(link))) == 1
