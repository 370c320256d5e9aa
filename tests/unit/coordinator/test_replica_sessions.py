"""Sessions at several replicas: they are pushed to, move, and are fenced wherever they are."""

import asyncio

import pytest

from infrafabric_server.coordinator.frames import Opened, Revoked, Said, TaskFrame
from infrafabric_server.coordinator.models import (
    BlockerReport,
    Dispatch,
    FailureKind,
    LossKind,
    TaskState,
)
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import SessionRole
from tests.harness.fabric import new_task
from tests.harness.replicas import Cluster
from tests.unit.coordinator.links import said


async def test_c4_a_task_reaches_a_session_at_another_replica_at_once(cluster: Cluster) -> None:
    for creator, place in (("anna", "bert"), ("bert", "anna")):
        link = await cluster[place].fabric.join(f"at-{place}", {place})
        await cluster.settled()
        await cluster[creator].fabric.create(new_task(f"for-{place}", needs={place}))
        await cluster.settled()
        assert link.working == {f"for-{place}": 1}


async def test_c5_an_offer_stands_though_the_leader_has_not_seen_the_session_yet(
    cluster: Cluster,
) -> None:
    await cluster.add("carl")
    await cluster["anna"].fabric.create(new_task("t", dispatch=Dispatch.MANUAL))
    await cluster.settled()
    anna = cluster["anna"]
    anna.fall_behind()
    link = await cluster["bert"].fabric.join("s")
    await cluster["carl"].fabric.mirror.catch_up()
    anna.bus.hears = True
    await cluster["carl"].fabric.coordinator.push_task_to_swarm("s", "t")
    for _ in range(50):
        await asyncio.sleep(0)
    assert anna.fabric.task("t").offered_to == "s"
    anna.come_along()
    await cluster.settled()
    assert anna.fabric.task("t").offered_to == "s"
    assert "t" in link.offered


async def resume(cluster: Cluster, swarm_id: str, token: str, place: str) -> None:
    """Resume a session at another replica."""
    link = await cluster[place].fabric.join(swarm_id, {"x"}, token=token)
    for frame in await said(link):
        if isinstance(frame, Opened):
            assert frame.resumed is bool(token)
        if isinstance(frame, TaskFrame):
            cluster[place].fabric.coordinator.sessions.acknowledge(
                link, frame.task.task_id, frame.task.attempt
            )


async def opened(cluster: Cluster, place: str) -> str:
    """Open a session of `s` that is given a task `t`; return its token."""
    link = await cluster[place].fabric.join("s", {"x"})
    await cluster.settled()
    await cluster["anna"].fabric.create(new_task("t", needs={"x"}))
    await cluster.settled()
    assert link.working == {"t": 1}
    (token,) = [frame.resume_token for frame in await said(link) if isinstance(frame, Opened)]
    return token


async def test_c10_a_session_that_is_resumed_at_another_replica_keeps_its_tasks(
    cluster: Cluster,
) -> None:
    token = await opened(cluster, "anna")
    await resume(cluster, "s", token, "bert")
    # The old replica waited for an acknowledgement, which came to the new one.
    await cluster.pass_time(20)
    for name in ("anna", "bert"):
        task = cluster[name].fabric.task("t")
        assert (task.state, task.attempt) == (TaskState.CLAIMED, 1)
    assert cluster["anna"].fabric.parts.links.get("s") is None


async def test_c10_a_stream_that_is_cut_before_it_acknowledged_loses_the_task(
    cluster: Cluster,
) -> None:
    await opened(cluster, "bert")
    link = cluster["bert"].fabric.parts.links.get("s")
    assert link is not None
    cluster["bert"].fabric.coordinator.sessions.detach(link)
    await cluster.pass_time(20)
    assert cluster["anna"].fabric.task("t").last_loss is LossKind.NOT_ACKNOWLEDGED


@pytest.mark.parametrize("place", ["anna", "bert"])
async def test_c10_what_an_old_process_says_is_refused_at_every_replica(
    cluster: Cluster, place: str
) -> None:
    await opened(cluster, "anna")
    old = cluster["anna"].fabric.parts.links.get("s")
    assert old is not None
    cluster[place].fall_behind()
    if place == "bert":
        await cluster["anna"].fabric.join("s", {"x"})
    else:
        await cluster["bert"].fabric.join("s", {"x"})
    claims = cluster[place].fabric.coordinator.claims
    complete = claims.complete("s", "t", 1, result_json="{}", cost_micros=0, epoch=None)
    with pytest.raises(FabricError) as caught:
        await cluster[place].behind(complete)
    assert caught.value.reason is Reason.STALE_ATTEMPT
    await cluster.settled()
    assert cluster["anna"].fabric.task("t").attempt == 2
    assert not (place == "anna" and old.live)


async def test_c10_a_supervisor_at_another_replica_gives_back_what_the_worker_held(
    cluster: Cluster,
) -> None:
    await opened(cluster, "anna")
    await cluster["bert"].fabric.join("s", {"x"}, role=SessionRole.ORCHESTRATOR)
    await cluster.settled()
    task = cluster["anna"].fabric.task("t")
    assert (task.state, task.last_loss) == (TaskState.AVAILABLE, LossKind.SESSION_CLOSED)


async def test_c10_a_claim_that_the_new_replica_has_not_seen_is_not_passed_over(
    cluster: Cluster,
) -> None:
    await opened(cluster, "anna")
    link = cluster["anna"].fabric.parts.links.get("s")
    assert link is not None
    await cluster["anna"].fabric.coordinator.claims.complete(
        "s", "t", 1, result_json="{}", cost_micros=0, epoch=link.epoch
    )
    await cluster.settled()
    cluster["bert"].fall_behind()
    await cluster["anna"].fabric.create(new_task("u", needs={"x"}))
    await cluster["bert"].behind(cluster["bert"].fabric.join("s", {"x"}))
    await cluster.settled()
    assert cluster["bert"].fabric.task("u").attempt == 2


async def test_c9_who_released_a_task_anywhere_is_not_given_it_again(cluster: Cluster) -> None:
    await opened(cluster, "bert")
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await anna.coordinator.claims.release("s", "t", 1, "not mine")
    await cluster.settled()
    await cluster.pass_time(1)
    assert anna.task("t").state is TaskState.AVAILABLE
    other = await anna.join("other", {"x"})
    await cluster.settled()
    assert other.working == {"t": 2}
    del bert


async def test_c11_who_failed_a_task_is_not_taken_for_one_who_declined_it_before(
    cluster: Cluster,
) -> None:
    first = await cluster["anna"].fabric.join("first", {"x"})
    await cluster["anna"].fabric.create(new_task("t", needs={"x"}))
    await cluster.settled()
    anna = cluster["anna"].fabric.coordinator
    await anna.placing.decline(first, "t", 1)
    second = await cluster["bert"].fabric.join("second", {"x"})
    await cluster.settled()
    assert second.working == {"t": 2}
    await cluster["bert"].fabric.coordinator.claims.fail(
        "second", "t", 2, reason="", kind=FailureKind.RETRYABLE, retry_time=None
    )
    await cluster.settled()
    await cluster.pass_time(2)
    await cluster.pass_time(2)
    assert second.working == {"t": 3}


async def test_c6_a_blocker_reaches_the_supervisor_at_another_replica(cluster: Cluster) -> None:
    boss = await cluster["bert"].fabric.join("boss", role=SessionRole.ORCHESTRATOR)
    await said(boss)
    await cluster["anna"].fabric.coordinator.register_swarm("s")
    report = BlockerReport(description="no key")
    await cluster["anna"].fabric.coordinator.detect_blocker("s", report)
    await cluster.settled()
    assert [type(frame).__name__ for frame in await said(boss)] == ["Alert"]


async def test_c5_an_offer_goes_to_every_replica_and_the_first_claim_wins(
    cluster: Cluster,
) -> None:
    links = {
        name: await cluster[name].fabric.join(f"at-{name}", {"x"}) for name in ("anna", "bert")
    }
    await cluster.settled()
    task = new_task("t", needs={"x"}, dispatch=Dispatch.BROADCAST)
    await cluster["anna"].fabric.create(task)
    await cluster.settled()
    assert all("t" in link.offered for link in links.values())
    outcomes = await asyncio.gather(
        *(
            cluster[name].fabric.coordinator.claims.claim(link.swarm_id, "t", link.epoch)
            for name, link in links.items()
        )
    )
    assert sorted(outcome.claimed for outcome in outcomes) == [False, True]
    await cluster.settled()
    assert not any("t" in link.offered for link in links.values())


async def test_c5_a_push_through_any_replica_is_shown_and_withdrawn_when_it_is_declined(
    cluster: Cluster,
) -> None:
    link = await cluster["bert"].fabric.join("s")
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await anna.create(new_task("t", dispatch=Dispatch.MANUAL))
    await cluster.settled()
    await anna.coordinator.push_task_to_swarm("s", "t")
    await cluster.settled()
    assert "t" in link.offered
    await bert.coordinator.placing.decline(link, "t", 0)
    await cluster.settled()
    assert anna.task("t").offered_to == ""
    assert "t" not in link.offered


async def test_c11_a_cancelled_task_is_revoked_at_the_replica_of_its_holder(
    cluster: Cluster,
) -> None:
    await opened(cluster, "bert")
    link = cluster["bert"].fabric.parts.links.get("s")
    assert link is not None
    await cluster["anna"].fabric.coordinator.endings.cancel("t", "enough")
    await cluster.settled()
    assert [frame.task_id for frame in await said(link) if isinstance(frame, Revoked)] == ["t"]


async def test_n10_broadcasts_reach_the_sessions_of_all_replicas_in_the_order_of_their_cursors(
    cluster: Cluster,
) -> None:
    link = await cluster["bert"].fabric.join("s")
    await cluster.settled()
    bert = cluster["bert"]
    bert.line.hold_back()
    await cluster["anna"].notify.broadcast("first")
    bert.bus.hears = False
    await cluster["anna"].notify.broadcast("second")
    bert.bus.hears = True
    await cluster["anna"].notify.broadcast("third")
    bert.come_along()
    await cluster.settled()
    heard = [frame for frame in await said(link) if isinstance(frame, Said)]
    assert [frame.broadcast.message for frame in heard] == ["first", "second", "third"]
    assert sorted(frame.revision for frame in heard) == [frame.revision for frame in heard]


async def test_c4_a_session_elsewhere_that_takes_tasks_again_is_given_them_at_once(
    cluster: Cluster,
) -> None:
    link = await cluster["bert"].fabric.join("s", {"x"}, slots=2, credit=1)
    for task_id in ("first", "second"):
        await cluster["anna"].fabric.create(new_task(task_id, needs={"x"}))
        await cluster.settled()
    assert link.working == {"first": 1}
    sessions = cluster["bert"].fabric.coordinator.sessions
    sessions.acknowledge(link, "first", 1)
    sessions.add_credit(link, 2)
    await cluster.settled()
    assert link.working == {"first": 1, "second": 1}
    await cluster["bert"].fabric.coordinator.claims.complete(
        "s", "first", 1, result_json="{}", cost_micros=0, epoch=link.epoch
    )
    await cluster["anna"].fabric.create(new_task("third", needs={"x"}))
    await cluster.settled()
    assert "third" in link.working


async def test_c10_sessions_of_a_replica_that_is_gone_are_given_nothing(cluster: Cluster) -> None:
    await cluster["bert"].fabric.join("there", {"x"})
    here = await cluster["anna"].fabric.join("here", {"x"}, cost=5)
    await cluster.settled()
    await cluster.kill("bert")
    await cluster.pass_time(10)
    assert "there" in cluster["anna"].fabric.fleet.sessions
    await cluster["anna"].fabric.create(new_task("t", needs={"x"}))
    await cluster.settled()
    assert here.working == {"t": 1}


async def test_c4_without_a_leader_a_replica_helps_itself_after_a_moment(
    cluster: Cluster,
) -> None:
    link = await cluster["bert"].fabric.join("s", {"x"})
    await cluster["anna"].fabric.coordinator.register_swarm("holder")
    await cluster["anna"].fabric.create(new_task("t", needs={"x"}, dispatch=Dispatch.AUTO))
    await cluster.settled()
    assert link.working == {"t": 1}
    await cluster["anna"].fabric.join("other", {"x"}, cost=1)
    await cluster.settled()
    cluster["anna"].line.freeze()
    await cluster["bert"].fabric.coordinator.claims.release("s", "t", 1, "not mine")
    second = await cluster["bert"].fabric.join("third", {"x"}, cost=9)
    await cluster.settled()
    await cluster.pass_time(0.5)
    assert second.working == {"t": 2}


async def test_u6_a_replica_that_fell_behind_the_history_goes_on_where_the_fabric_is(
    cluster: Cluster,
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    link = await bert.join("s", {"x"}, slots=2)
    gone = await bert.join("gone", {"y"})
    await anna.create(new_task("old", needs={"x"}), new_task("lost", needs={"y"}))
    await cluster.settled()
    cluster["bert"].fall_behind()
    await anna.coordinator.endings.cancel("old", "enough")
    await anna.coordinator.registration.deregister("gone")
    await anna.create(new_task("new", needs={"x"}))
    await cluster.store.compact(await cluster.store.revision())
    cluster["bert"].come_along()
    await cluster.settled()
    assert link.working == {"new": 1}
    assert not gone.live
    assert anna.task("lost").state is TaskState.AVAILABLE
    frames = await said(link)
    assert [frame.task_id for frame in frames if isinstance(frame, Revoked)] == ["old"]
