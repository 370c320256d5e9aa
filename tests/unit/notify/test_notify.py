"""Statuses on a real coordinator: reported, followed, answered."""

import asyncio
from datetime import timedelta

import pytest

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import SessionRole, Status
from infrafabric_server.notify.models import Helper, Notified, StatusReport
from tests.unit.notify.world import World


async def test_n4_an_unknown_id_registers_itself() -> None:
    async with World() as world:
        await world.report("s", Status.BUSY, capabilities={"rust"}, last_task="t")
        profile = world.fleet.swarms.get("s")
        assert profile is not None
        assert profile.capabilities == {"rust"}
        await world.report("s", Status.BUSY)
        assert world.fleet.swarms.get("s") == profile
        await world.report("s", Status.BUSY, capabilities={"go"})
        (agent,) = world.notify.page("", 10)
        assert agent.capabilities == {"go"}


async def test_n1_completed_is_followed_by_idle_and_a_second_idle_changes_nothing() -> None:
    async with World() as world:
        await world.report("other", Status.IDLE)
        seen: list[Status] = []
        world.fleet.statuses.subscribe(
            lambda change: seen.append(change.new.status) if change.new else None
        )
        answer = await world.report("s", Status.COMPLETED, last_task="t")
        assert seen == [Status.COMPLETED, Status.IDLE]
        assert answer == Notified(queue_position=2)
        idle = world.status("s")
        revision = world.mirror.revision
        assert await world.report("s", Status.IDLE) == Notified(queue_position=2)
        assert world.status("s") == idle
        assert world.mirror.revision == revision, "nothing is written for a repeat"


async def test_n5_the_queue_is_in_the_order_of_waiting() -> None:
    async with World() as world:
        start = world.clock.now()
        for swarm_id, minutes in (("c", 1), ("b", 3), ("a", 3), ("d", 2)):
            since = start - timedelta(minutes=minutes)
            await world.report(swarm_id, Status.IDLE, waiting_since=since)
        assert world.notify.idle_queue() == ["a", "b", "d", "c"]
        assert (await world.report("d", Status.IDLE)).queue_position == 3
        await world.report("b", Status.BUSY)
        assert world.notify.idle_queue() == ["a", "d", "c"]
        assert world.notify.count() == (4, 3)


async def test_n5_helpers_cover_half_of_what_is_needed() -> None:
    async with World() as world:
        skills = {"both": {"go", "rust"}, "half": {"rust", "css"}, "none": {"css"}}
        for swarm_id, capabilities in skills.items():
            await world.report(swarm_id, Status.IDLE, capabilities=capabilities)
        await world.report("busy", Status.BUSY, capabilities={"go", "rust"})
        asked = await world.report("s", Status.HELP, needs={"go", "rust"}, message="stuck")
        assert asked.helpers == (
            Helper("both", 1.0, ("go", "rust")),
            Helper("half", 0.5, ("rust",)),
        )
        own = await world.report("s", Status.HELP, capabilities={"css"})
        assert [helper.swarm_id for helper in own.helpers] == ["half", "none"]


async def test_n5_the_asker_is_not_its_own_helper() -> None:
    async with World() as world:
        await world.report("s", Status.IDLE, capabilities={"go"})
        assert (await world.report("s", Status.HELP)).helpers == ()


async def test_n1_a_claim_and_a_completion_set_the_status() -> None:
    async with World() as world:
        await world.connect("s")
        await world.becomes("s", Status.IDLE, connected=True)
        await world.work("s", "t1")
        busy = await world.becomes("s", Status.BUSY, last_task="t1")
        assert not busy.declared
        await world.complete("s", "t1", cost_micros=40)
        done = await world.becomes("s", Status.IDLE)
        assert (done.tasks_completed, done.cost_spent_micros, done.last_task) == (1, 40, "t1")
        assert done.waiting_since is not None


async def test_n1_a_status_claims_and_completes_no_task() -> None:
    async with World() as world:
        await world.task("t1")
        await world.report("s", Status.BUSY, last_task="t1")
        task = world.coordinator.tasks.get("t1")
        assert task is not None
        assert task.claim is None
        await world.claim("s", "t1")
        await world.report("s", Status.COMPLETED, last_task="t1")
        task = world.coordinator.tasks.get("t1")
        assert task is not None
        assert task.claim is not None
        assert task.claim.swarm_id == "s"


async def test_n1_the_last_claim_given_back_means_idle() -> None:
    async with World() as world:
        await world.connect("s")
        await world.work("s", "t1")
        await world.becomes("s", Status.BUSY)
        await world.release("s", "t1")
        assert (await world.becomes("s", Status.IDLE)).waiting_since is not None


async def test_a_lost_session_leaves_the_idle_queue() -> None:
    async with World() as world:
        await world.connect("s")
        await world.becomes("s", Status.IDLE, connected=True)
        assert world.notify.idle_queue() == ["s"]
        await world.disconnect("s")
        await world.becomes("s", Status.IDLE, connected=False)
        assert world.notify.idle_queue() == []


async def test_a_lost_session_ends_what_was_claimed_in_it() -> None:
    async with World() as world:
        await world.connect("s")
        await world.work("s", "t1")
        await world.becomes("s", Status.BUSY, connected=True)
        await world.disconnect("s")
        assert (await world.becomes("s", Status.IDLE)).waiting_since is None


async def test_an_orchestrator_does_not_wait_for_work() -> None:
    async with World() as world:
        await world.connect("chief", SessionRole.ORCHESTRATOR)
        await world.becomes("chief", Status.IDLE, connected=True)
        assert world.notify.idle_queue() == []
        assert (await world.report("chief", Status.IDLE)).queue_position == 0


async def test_a_registered_swarm_has_a_status_and_a_deregistered_one_has_none() -> None:
    async with World() as world:
        await world.coordinator.register_swarm("s")
        assert (await world.becomes("s", Status.IDLE)).waiting_since is None
        await world.coordinator.registration.deregister("s")
        await world.until(lambda: world.status("s") is None)


async def test_n8_blocked_opens_one_alert_on_the_held_task_and_updates_it() -> None:
    async with World() as world:
        await world.coordinator.register_swarm("s")
        await world.work("s", "t1")
        for why in ("no network", "still no network"):
            answer = await world.report("s", Status.BLOCKED, message=why, needs={"net"})
            assert answer == Notified(escalated=True)
        (alert,) = world.notify.open_blockers()
        assert (alert.task_id, alert.attempt, alert.description, alert.needs) == (
            "t1",
            1,
            "still no network",
            frozenset({"net"}),
        )
        status = world.status("s")
        assert status is not None
        assert (status.status, status.message, status.declared) == (
            Status.BLOCKED,
            "still no network",
            False,
        )


async def test_n1_busy_on_the_blocked_task_closes_its_alert_busy_on_a_filler_does_not() -> None:
    async with World() as world:
        await world.connect("s")
        await world.work("s", "t1")
        await world.report("s", Status.BLOCKED, message="why")
        await world.work("s", "filler")
        await world.becomes("s", Status.BUSY, last_task="filler")
        await world.report("s", Status.BUSY, last_task="filler")
        assert [alert.task_id for alert in world.notify.open_blockers()] == ["t1"]
        await world.complete("s", "filler")
        blocked = await world.becomes("s", Status.BLOCKED)
        assert (blocked.last_task, blocked.tasks_completed) == ("t1", 1)
        await world.report("s", Status.BUSY, last_task="t1")
        assert world.notify.open_blockers() == []
        task = world.coordinator.tasks.get("t1")
        assert task is not None
        assert task.claim is not None
        assert not task.claim.parked


@pytest.mark.parametrize("named", ["wiring", None])
async def test_n1_a_blocker_on_free_text_ends_with_work_on_the_same_text(named: str | None) -> None:
    async with World() as world:
        await world.report("s", Status.BUSY, last_task="wiring")
        await world.report("s", Status.BLOCKED, last_task=named, message="no electricity")
        status = world.status("s")
        assert status is not None
        assert (status.blocked_task, status.declared) == ("wiring", True)
        await world.report("s", Status.BUSY, last_task="painting")
        assert len(world.notify.open_blockers()) == 1
        await world.report("s", Status.BUSY, last_task="wiring")
        assert world.notify.open_blockers() == []


async def test_n8_blocked_without_a_reason_is_escalated_too() -> None:
    async with World() as world:
        assert (await world.report("s", Status.BLOCKED)).escalated
        (alert,) = world.notify.open_blockers()
        assert alert.description


async def test_c6_a_blocker_reported_to_the_coordinator_sets_the_status_and_its_end_too() -> None:
    async with World() as world:
        await world.connect("s")
        await world.work("s", "t1")
        await world.block("s", "t1", "no network")
        await world.becomes("s", Status.BLOCKED, message="no network", last_task="t1")
        await world.coordinator.resolve_blocker("s", "t1", "plugged in")
        await world.becomes("s", Status.BUSY, message="", last_task="t1")


async def test_n4_totals_of_a_swarm_with_a_session_count_only_down_the_session() -> None:
    async with World() as world:
        await world.connect("s")
        await world.report("s", Status.BUSY, cost_spent_micros=70)
        await world.report("s", Status.BUSY, cost_spent_micros=50, by_session=True)
        await world.becomes("s", Status.BUSY, cost_spent_micros=50)


async def test_many_reports_of_one_swarm_are_taken_one_after_another() -> None:
    async with World() as world:
        await world.report("s", Status.IDLE)
        totals = range(1, 65)
        await asyncio.gather(
            *(world.report("s", Status.BUSY, cost_spent_micros=total) for total in totals)
        )
        status = world.status("s")
        assert status is not None
        assert status.reported_cost_micros == status.cost_spent_micros == 64


async def test_reports_of_many_swarms_share_their_transactions() -> None:
    async with World() as world:
        names = [f"s{number}" for number in range(200)]
        await asyncio.gather(*(world.coordinator.register_swarm(name) for name in names))
        await world.until(lambda: len(world.fleet.statuses) == len(names))
        before = world.mirror.revision
        await asyncio.gather(*(world.report(name, Status.BUSY) for name in names))
        assert world.mirror.revision - before < 20
        assert all(status.status is Status.BUSY for _, status in world.fleet.statuses.items())


async def test_a_report_that_nobody_waits_for_any_more_is_dropped() -> None:
    async with World() as world:
        await world.report("s", Status.IDLE)
        report = StatusReport(swarm_id="s", status=Status.BUSY)
        asking = asyncio.create_task(world.notify.notify(report))
        await asyncio.sleep(0)
        asking.cancel()
        assert (await world.report("s", Status.IDLE)).queue_position == 1


async def test_a_report_after_the_end_is_refused() -> None:
    async with World() as world:
        await world.report("s", Status.IDLE)
    with pytest.raises(FabricError) as caught:
        await world.report("s", Status.BUSY)
    assert caught.value.reason is Reason.DRAINING
