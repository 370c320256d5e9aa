"""Statuses where several replicas keep them: each thing that happens counts once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from infrafabric_server.coordinator.frames import Opened
from infrafabric_server.coordinator.models import BlockerReport, Dispatch
from infrafabric_server.fleet.models import AgentStatus, SessionRole, Status
from infrafabric_server.notify.models import Notified, StatusReport
from tests.harness.fabric import new_task
from tests.harness.replicas import Cluster, running_cluster
from tests.unit.coordinator.links import said


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Return three replicas; `anna` leads."""
    async with running_cluster("anna", "bert", "carl") as running:
        yield running


def status(cluster: Cluster, place: str, swarm_id: str = "s") -> AgentStatus:
    """Return a status as a replica shows it."""
    found = cluster[place].fabric.fleet.statuses.get(swarm_id)
    assert found is not None
    return found


async def report(cluster: Cluster, place: str, kind: Status, **said: Any) -> Notified:
    """Report a status of `s` at a replica."""
    return await cluster[place].notify.notify(StatusReport(swarm_id="s", status=kind, **said))


async def work(cluster: Cluster, place: str, task_id: str) -> None:
    """Claim a new task for `s`, in its session at a replica if it has one there."""
    fabric = cluster[place].fabric
    await fabric.create(new_task(task_id, dispatch=Dispatch.MANUAL))
    link = fabric.parts.links.get("s")
    epoch = None if link is None else link.epoch
    assert (await fabric.coordinator.claims.claim("s", task_id, epoch)).claimed


async def complete(cluster: Cluster, place: str, task_id: str, cost_micros: int = 40) -> None:
    """Complete a task of `s`."""
    claims = cluster[place].fabric.coordinator.claims
    await claims.complete("s", task_id, 1, result_json="{}", cost_micros=cost_micros)


def totals(cluster: Cluster, place: str) -> tuple[int, int]:
    """Return what `s` has completed and spent."""
    found = status(cluster, place)
    return found.tasks_completed, found.cost_spent_micros


@pytest.mark.parametrize("place", ["anna", "bert", "carl"])
@pytest.mark.parametrize("session", ["", "anna", "bert"])
async def test_n1_a_status_follows_what_happens_at_any_replica(
    cluster: Cluster, place: str, session: str
) -> None:
    if session:
        await cluster[session].fabric.join("s")
    else:
        await cluster[place].fabric.coordinator.register_swarm("s")
    await cluster.settled()
    await work(cluster, place, "t")
    await cluster.settled()
    assert {status(cluster, each).status for each in cluster.replicas} == {Status.BUSY}
    await complete(cluster, place, "t")
    await cluster.settled()
    for each in cluster.replicas:
        assert status(cluster, each).status is Status.IDLE
        assert totals(cluster, each) == (1, 40)


async def test_n2_a_completion_is_counted_once_when_the_session_moves_meanwhile(
    cluster: Cluster,
) -> None:
    link = await cluster["bert"].fabric.join("s")
    (token,) = [frame.resume_token for frame in await said(link) if isinstance(frame, Opened)]
    await work(cluster, "bert", "t")
    await cluster.settled()
    cluster["bert"].line.freeze()
    await complete(cluster, "carl", "t")
    await cluster["carl"].fabric.join("s", token=token)
    await cluster.settled()
    assert totals(cluster, "carl") == (1, 40)
    cluster["bert"].line.thaw()
    await cluster.settled()
    await work(cluster, "carl", "u")
    await complete(cluster, "carl", "u")
    await cluster.settled()
    assert totals(cluster, "bert") == (2, 80)


async def test_n2_what_a_dead_replica_did_not_count_is_counted_by_the_leader(
    cluster: Cluster,
) -> None:
    link = await cluster["bert"].fabric.join("s")
    await work(cluster, "bert", "t")
    await cluster.settled()
    cluster["bert"].line.freeze()
    await complete(cluster, "anna", "t")
    await cluster.settled()
    assert totals(cluster, "anna") == (0, 0)
    await cluster.kill("bert")
    await cluster.store.revoke(link.lease)
    await cluster.settled()
    assert totals(cluster, "anna") == (1, 40)
    assert status(cluster, "anna").status is Status.IDLE


@pytest.mark.parametrize("thawed", [False, True])
async def test_n2_a_leader_that_wakes_up_counts_nothing_twice(
    cluster: Cluster, thawed: bool
) -> None:
    await cluster["bert"].fabric.coordinator.register_swarm("s")
    await work(cluster, "bert", "t")
    await cluster.settled()
    cluster["anna"].line.freeze()
    await complete(cluster, "bert", "t")
    cluster["bert"].lead()
    await cluster.settled()
    assert totals(cluster, "bert") == (1, 40)
    # It still believes that it leads, and then does not.
    cluster["anna"].line.thaw()
    if thawed:
        cluster["anna"].lead(leading=False)
    await cluster.settled()
    await work(cluster, "carl", "u")
    await complete(cluster, "carl", "u")
    await cluster.settled()
    for each in cluster.replicas:
        assert totals(cluster, each) == (2, 80)


async def test_n2_completions_that_share_a_revision_are_counted_once_each(
    cluster: Cluster,
) -> None:
    link = await cluster["bert"].fabric.join("s", slots=4)
    for n in range(4):
        await work(cluster, "bert", f"t{n}")
    await cluster.settled()
    before = await cluster.store.revision()
    claims = cluster["carl"].fabric.coordinator.claims
    attempts = {n: cluster["carl"].fabric.task(f"t{n}").attempt for n in range(4)}
    await asyncio.gather(
        *(
            claims.complete("s", f"t{n}", attempts[n], result_json="{}", cost_micros=10)
            for n in range(4)
        )
    )
    assert await cluster.store.revision() - before < 4
    await cluster.settled()
    assert totals(cluster, "anna") == (4, 40)
    await cluster.store.revoke(link.lease)
    cluster["anna"].lead(leading=False)
    cluster["carl"].lead()
    await cluster.settled()
    assert totals(cluster, "anna") == (4, 40)


async def test_n4_a_total_that_includes_a_completion_is_not_charged_for_it_again(
    cluster: Cluster,
) -> None:
    """N4: the completion was acknowledged before the report, wherever each was."""
    await cluster["bert"].fabric.coordinator.register_swarm("s")
    await work(cluster, "bert", "t")
    await cluster.settled()
    cluster["anna"].line.freeze()
    await complete(cluster, "bert", "t")
    await report(cluster, "carl", Status.IDLE, cost_spent_micros=40, tasks_completed=1)
    assert totals(cluster, "carl") == (1, 40)
    cluster["anna"].line.thaw()
    await cluster.settled()
    assert totals(cluster, "anna") == (1, 40)


async def test_n1_a_report_is_not_overruled_by_what_happened_before_it(cluster: Cluster) -> None:
    await cluster["bert"].fabric.coordinator.register_swarm("s")
    await cluster.settled()
    cluster["anna"].line.freeze()
    await work(cluster, "bert", "t")
    cluster["bert"].fabric.clock.now()
    await report(cluster, "carl", Status.HELP, message="how?")
    assert status(cluster, "carl").status is Status.HELP
    cluster["anna"].line.thaw()
    await cluster.settled()
    assert status(cluster, "anna").status is Status.HELP
    cluster["anna"].lead(leading=False)
    cluster["carl"].lead()
    await cluster.settled()
    assert status(cluster, "anna").status is Status.HELP


async def test_n1_a_report_on_an_old_view_is_not_taken_for_a_repeat(cluster: Cluster) -> None:
    await report(cluster, "anna", Status.IDLE)
    await cluster.settled()
    cluster["bert"].fall_behind()
    await report(cluster, "anna", Status.BUSY, last_task="writing")
    await cluster["bert"].behind(report(cluster, "bert", Status.IDLE))
    await cluster.settled()
    assert status(cluster, "anna").status is Status.IDLE


async def test_n1_busy_on_an_old_view_ends_the_blocker(cluster: Cluster) -> None:
    await report(cluster, "anna", Status.BUSY, last_task="writing")
    await cluster.settled()
    cluster["bert"].fall_behind()
    await report(cluster, "anna", Status.BLOCKED, message="no network")
    await cluster["bert"].behind(report(cluster, "bert", Status.BUSY, last_task="writing"))
    await cluster.settled()
    alert = cluster["anna"].fabric.coordinator.blockers.get("s/-")
    assert alert is not None
    assert not alert.open


async def test_n5_the_queue_and_the_helpers_are_the_same_everywhere(cluster: Cluster) -> None:
    for n, place in enumerate(("carl", "anna", "bert")):
        reported = StatusReport(
            swarm_id=f"idle{n}", status=Status.IDLE, capabilities=frozenset({"x"})
        )
        await cluster[place].notify.notify(reported)
        await cluster.clock.advance(1)
    await cluster.settled()
    queues = [cluster[each].notify.idle_queue() for each in cluster.replicas]
    assert queues == [["idle0", "idle1", "idle2"]] * 3
    helped = [
        await report(cluster, each, Status.HELP, needs=frozenset({"x"}), message="how?")
        for each in cluster.replicas
    ]
    assert {tuple(each.swarm_id for each in found.helpers) for found in helped} == {
        ("idle0", "idle1", "idle2")
    }


async def test_n8_a_blocker_is_escalated_once_by_whoever_leads(cluster: Cluster) -> None:
    boss = await cluster["carl"].fabric.join("boss", role=SessionRole.ORCHESTRATOR)
    await cluster["bert"].fabric.coordinator.register_swarm("s")
    report = BlockerReport(description="no key")
    await cluster["bert"].fabric.coordinator.detect_blocker("s", report)
    await cluster.settled()
    cluster["anna"].line.freeze()
    await cluster.pass_time(timedelta(minutes=29).total_seconds())
    cluster["bert"].lead()
    await cluster.pass_time(timedelta(minutes=2).total_seconds())
    cluster["anna"].line.thaw()
    await cluster.pass_time(1)
    alert = cluster["anna"].fabric.coordinator.blockers.get("s/-")
    assert alert is not None
    assert alert.escalations == 1
    alerts = [frame for frame in await said(boss) if type(frame).__name__ == "Alert"]
    assert len(alerts) == 2
    cluster["anna"].lead(leading=False)
    await cluster.pass_time(timedelta(minutes=30).total_seconds())
    alert = cluster["carl"].fabric.coordinator.blockers.get("s/-")
    assert alert is not None
    assert alert.escalations == 2


async def test_c3_the_status_of_a_forgotten_swarm_goes_wherever_it_was_kept(
    cluster: Cluster,
) -> None:
    await cluster["bert"].fabric.join("s")
    await cluster.settled()
    await cluster["carl"].fabric.coordinator.registration.deregister("s")
    await cluster.settled()
    for each in cluster.replicas.values():
        assert "s" not in each.fabric.fleet.statuses
