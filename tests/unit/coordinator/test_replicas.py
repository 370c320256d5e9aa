"""Decisions at several replicas: one winner, no slot twice, and no word of an old view."""

import asyncio
from collections import Counter

import pytest

from infrafabric_server.coordinator.models import (
    Dispatch,
    LossKind,
    Refusal,
    TaskState,
)
from infrafabric_server.coordinator.registration import Joining
from infrafabric_server.coordinator.slots import TakenSlots
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.protocol import Put
from infrafabric_server.store.second_look import second_look
from tests.harness.fabric import new_task
from tests.harness.replicas import Cluster


async def claim_unseen(cluster: Cluster) -> None:
    """Let `s` claim `t` at anna, which bert does not see."""
    anna = cluster["anna"].fabric
    await anna.coordinator.register_swarm("s")
    await anna.create(new_task("t", dispatch=Dispatch.MANUAL))
    await cluster.settled()
    cluster["bert"].fall_behind()
    await anna.coordinator.claim_task("s", "t")


async def test_c1_one_of_many_claimants_at_all_replicas_wins(cluster: Cluster) -> None:
    for n in range(20):
        await cluster["anna"].fabric.coordinator.register_swarm(f"s{n}")
    await cluster["anna"].fabric.create(new_task("t", dispatch=Dispatch.MANUAL))
    await cluster.settled()
    outcomes = await asyncio.gather(
        *(
            cluster[name].fabric.coordinator.claim_task(f"s{n}", "t")
            for n in range(20)
            for name in ("anna", "bert")
        )
    )
    won = {outcome.owner for outcome in outcomes if outcome.claimed}
    assert len(won) == 1
    assert {outcome.owner for outcome in outcomes} == won
    attempts = {outcome.task.attempt for outcome in outcomes if outcome.task is not None}
    assert attempts == {1}


async def test_c1_a_slot_is_filled_once_however_many_replicas_claim_for_it(
    cluster: Cluster,
) -> None:
    await cluster["anna"].fabric.coordinator.register_swarm("s")
    board = [new_task(f"t{n}", dispatch=Dispatch.MANUAL, position=n) for n in range(8)]
    await cluster["anna"].fabric.create(*board)
    await cluster.settled()
    cluster["bert"].fall_behind()
    claims = [
        cluster[name].fabric.coordinator.claim_task("s", f"t{n}")
        for n in range(8)
        for name in (("anna", "bert")[n % 2],)
    ]
    outcomes = await cluster["bert"].behind(asyncio.gather(*claims))
    assert Counter(outcome.refusal for outcome in outcomes) == {None: 1, Refusal.NO_SLOT: 7}
    await cluster.settled()
    (held,) = cluster["bert"].fabric.coordinator.held_by("s")
    told = {outcome.detail for outcome in outcomes if not outcome.claimed}
    assert f"s works on as many tasks as it may, such as {held}" in told


async def test_c1_who_gave_a_task_back_does_not_hold_it_by_an_old_view(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric.coordinator, cluster["bert"].fabric.coordinator
    await anna.register_swarm("s")
    await cluster["anna"].fabric.create(new_task("t", dispatch=Dispatch.MANUAL))
    assert (await anna.claim_task("s", "t")).claimed
    await cluster.settled()
    cluster["bert"].fall_behind()
    await anna.claims.release("s", "t", 1, "")
    outcome = await cluster["bert"].behind(bert.claim_task("s", "t"))
    assert outcome.task is not None
    assert (outcome.claimed, outcome.task.attempt) == (True, 2)


async def test_c3_who_was_forgotten_is_registered_again_on_an_old_view(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await anna.coordinator.register_swarm("s", frozenset({"x"}))
    await cluster.settled()
    cluster["bert"].fall_behind()
    await anna.coordinator.registration.deregister("s")
    again = bert.coordinator.registration.register(Joining("s", frozenset({"x"})))
    await cluster["bert"].behind(again)
    await cluster.settled()
    assert "s" in anna.fleet.swarms


async def test_c5_who_is_free_at_another_replica_is_found_on_an_old_view(cluster: Cluster) -> None:
    await cluster["anna"].fabric.create(new_task("t", needs={"x"}, dispatch=Dispatch.MANUAL))
    await cluster.settled()
    cluster["anna"].fall_behind()
    link = await cluster["bert"].fabric.join("s", {"x"})
    placed = await cluster["anna"].behind(cluster["anna"].fabric.coordinator.placing.assign("t"))
    assert placed.match is not None
    await cluster.settled()
    assert link.working == {"t": 1}


async def test_c7_a_repeated_request_is_answered_in_full_on_an_old_view(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await cluster.settled()
    cluster["bert"].fall_behind()
    await anna.create(new_task("before", dispatch=Dispatch.MANUAL))
    board = [new_task("t", "before", dispatch=Dispatch.MANUAL)]
    first = await anna.coordinator.creation.create(board, "once")
    repeat = bert.coordinator.creation.create(board, "once")
    assert await cluster["bert"].behind(repeat) == first


async def test_c7_a_task_waits_for_a_dependency_that_the_leader_has_not_seen_yet(
    cluster: Cluster,
) -> None:
    await cluster.add("carl")
    await cluster.settled()
    anna = cluster["anna"]
    anna.line.hold_back()
    anna.bus.hears = False
    await cluster["bert"].fabric.create(new_task("before", dispatch=Dispatch.MANUAL))
    await cluster["carl"].fabric.mirror.catch_up()
    # News of the second creation comes before the watch brings the first one.
    anna.bus.hears = True
    await cluster["carl"].fabric.create(new_task("after", "before", dispatch=Dispatch.MANUAL))
    for _ in range(50):
        await asyncio.sleep(0)
    assert "after" in anna.fabric.coordinator.tasks
    assert "before" not in anna.fabric.coordinator.tasks
    anna.come_along()
    await cluster.settled()
    assert anna.fabric.task("after").state is TaskState.BLOCKED


async def test_c3_a_deregistration_gives_back_what_its_replica_has_not_seen(
    cluster: Cluster,
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await claim_unseen(cluster)
    given_back = await cluster["bert"].behind(bert.coordinator.registration.deregister("s"))
    assert given_back == ["t"]
    await cluster.settled()
    assert anna.task("t").last_loss is LossKind.DEREGISTERED


async def test_w1_a_message_that_only_looked_stale_is_not_counted_as_fenced(
    cluster: Cluster,
) -> None:
    bert = cluster["bert"].fabric
    await claim_unseen(cluster)
    claims = bert.coordinator.claims
    done = second_look(
        lambda: claims.complete("s", "t", 1, result_json="{}", cost_micros=0),
        bert.mirror.catch_up,
    )
    await cluster["bert"].behind(done)
    with pytest.raises(FabricError):
        await second_look(
            lambda: claims.complete("s", "t", 7, result_json="{}", cost_micros=0),
            bert.mirror.catch_up,
        )
    await bert.flood.flush()
    page = await cluster.store.range("outbox/", limit=1000)
    fenced = [kv.value for kv in page.kvs if "message_fenced" in kv.value]
    assert len(fenced) == 1
    assert '"count":1' in fenced[0]


async def test_c1_a_slot_that_was_noted_for_a_claim_that_failed_is_free(cluster: Cluster) -> None:
    """C1: what a replica that died between a lost claim and its correction leaves behind."""
    anna = cluster["anna"].fabric
    await anna.coordinator.register_swarm("s")
    board = [new_task(name, dispatch=Dispatch.MANUAL) for name in ("t", "u", "v")]
    await anna.create(*board)
    noted = TakenSlots(claims={"one": ("t", 1), "two": ("u", 1)})
    await cluster.store.txn([], [Put("slots/s", noted.model_dump_json())])
    await cluster.settled()
    await anna.coordinator.endings.cancel("u", "enough")
    assert (await cluster["bert"].fabric.coordinator.claim_task("s", "v")).claimed


async def test_c1_a_replica_that_is_behind_does_not_try_a_full_swarm_without_end(
    cluster: Cluster,
) -> None:
    anna, bert = cluster["anna"], cluster["bert"]
    link = await bert.fabric.join("s", {"x"})
    await cluster.settled()
    await cluster.pass_time(1)
    anna.fall_behind()
    await bert.fabric.create(new_task("t", needs={"x"}))
    assert link.working == {"t": 1}
    before = anna.line.requests
    creation = asyncio.create_task(anna.fabric.create(new_task("u", needs={"x"})))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert anna.line.requests - before < 20
    anna.come_along()
    await creation
    await cluster.settled()
    assert anna.fabric.task("u").state is TaskState.AVAILABLE


async def test_c7_a_request_that_is_repeated_at_another_replica_creates_one_board(
    cluster: Cluster,
) -> None:
    board = [new_task("t", dispatch=Dispatch.MANUAL)]
    answers = await asyncio.gather(
        *(
            cluster[name].fabric.coordinator.creation.create(board, "once")
            for name in ("anna", "bert") * 5
        )
    )
    assert len({tasks[0].task_id for tasks in answers}) == 1
    other = [new_task("u", dispatch=Dispatch.MANUAL)]
    with pytest.raises(FabricError) as caught:
        await cluster["bert"].fabric.coordinator.creation.create(other, "once")
    assert caught.value.reason is Reason.REQUEST_ID_REUSED
