"""What must happen once in the fabric, while its leader freezes, dies and wakes up again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import pytest

from infrafabric_server.coordinator.frames import Opened
from infrafabric_server.coordinator.models import Dispatch, FailureKind, RetryPolicy, TaskState
from infrafabric_server.coordinator.reactions import KEEP_ENDED
from infrafabric_server.coordinator.registration import Joining
from infrafabric_server.errors import FabricError
from infrafabric_server.fleet.leadership import ElectedLeader
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.witness.models import Draft
from tests.harness.fabric import new_task
from tests.harness.lines import Line
from tests.harness.replicas import Cluster, running_cluster
from tests.unit.coordinator.links import said


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Return three replicas; `anna` leads."""
    async with running_cluster("anna", "bert", "carl") as running:
        yield running


async def facts(cluster: Cluster) -> Counter[tuple[str, str]]:
    """Return how often each operation is in the outbox, by task."""
    page = await cluster.store.range("outbox/", limit=10_000)
    drafts = [Draft.model_validate_json(kv.value) for kv in page.kvs]
    return Counter((draft.operation, draft.task_id) for draft in drafts)


async def complete(cluster: Cluster, place: str, task_id: str) -> None:
    """Claim a task for `s` and complete it."""
    coordinator = cluster[place].fabric.coordinator
    outcome = await coordinator.claim_task("s", task_id)
    assert outcome.task is not None
    await coordinator.claims.complete(
        "s", task_id, outcome.task.attempt, result_json="{}", cost_micros=0
    )


async def take_over(cluster: Cluster, *, wake: bool) -> None:
    """Let `bert` lead after `anna`, who froze, and wake up `anna`, who does not know it yet."""
    cluster["bert"].lead()
    await cluster.settled()
    if wake:
        cluster["anna"].line.thaw()
        await cluster.settled()


@pytest.mark.parametrize("wake", [False, True])
async def test_c7_dependents_become_ready_once_when_the_leader_freezes(
    cluster: Cluster, wake: bool
) -> None:
    manual = partial(new_task, dispatch=Dispatch.MANUAL)
    await cluster["bert"].fabric.coordinator.register_swarm("s")
    await cluster["bert"].fabric.create(manual("a"), manual("b", "a"), manual("c"))
    await cluster["bert"].fabric.create(manual("d", "c"))
    await cluster.settled()
    cluster["anna"].line.freeze()
    await complete(cluster, "bert", "a")
    await cluster["carl"].fabric.coordinator.endings.cancel("c", "enough")
    await cluster.settled()
    assert cluster["bert"].fabric.task("b").state is TaskState.BLOCKED
    await take_over(cluster, wake=wake)
    assert cluster["carl"].fabric.task("b").state is TaskState.AVAILABLE
    assert cluster["carl"].fabric.task("d").state is TaskState.CANCELLED
    told = await facts(cluster)
    assert (told["task_unblocked", "b"], told["task_cancelled", "d"]) == (1, 1)


@pytest.mark.parametrize("wake", [False, True])
async def test_c10_what_falls_due_happens_once_when_the_leader_freezes(
    cluster: Cluster, wake: bool
) -> None:
    bert = cluster["bert"].fabric
    spec, dispatch = new_task("deadline", dispatch=Dispatch.MANUAL)
    late = spec.model_copy(update={"deadline": cluster.clock.now() + timedelta(seconds=30)})
    spec, dispatch = new_task("idle", dispatch=Dispatch.MANUAL)
    idle = spec.model_copy(update={"progress_timeout": timedelta(seconds=30)})
    retry = RetryPolicy(initial_backoff=timedelta(seconds=30))
    again = new_task("again", dispatch=Dispatch.MANUAL, retry=retry)
    await bert.coordinator.registration.register(Joining("s", max_concurrent_tasks=3))
    await bert.create((late, dispatch), (idle, dispatch), again)
    for task_id in ("idle", "again"):
        assert (await bert.coordinator.claim_task("s", task_id)).claimed
    await bert.coordinator.claims.fail(
        "s", "again", 1, reason="", kind=FailureKind.RETRYABLE, retry_time=None
    )
    await cluster.settled()
    cluster["anna"].line.freeze()
    await cluster.pass_time(60)
    assert bert.task("deadline").state is TaskState.AVAILABLE
    await take_over(cluster, wake=wake)
    await cluster.pass_time(1)
    assert bert.task("deadline").state is TaskState.FAILED
    assert bert.task("idle").state is TaskState.AVAILABLE
    assert bert.task("again").available_time is None
    told = await facts(cluster)
    assert told["task_deadline_passed", "deadline"] == 1
    assert told["claim_taken_back", "idle"] == 1
    assert told["task_retried", "again"] == 1


@pytest.mark.parametrize("wake", [False, True])
async def test_c10_claims_of_lost_sessions_go_back_once_when_the_leader_freezes(
    cluster: Cluster, wake: bool
) -> None:
    link = await cluster["carl"].fabric.join("s", {"x"})
    await cluster.settled()
    await cluster["carl"].fabric.create(
        new_task("t", needs={"x"}), new_task("offered", dispatch=Dispatch.MANUAL)
    )
    await cluster["carl"].fabric.coordinator.push_task_to_swarm("s", "offered")
    await cluster.settled()
    assert link.working == {"t": 1}
    cluster["anna"].line.freeze()
    await cluster.store.revoke(link.lease)
    await cluster.settled()
    await take_over(cluster, wake=wake)
    assert cluster["carl"].fabric.task("t").state is TaskState.AVAILABLE
    assert cluster["carl"].fabric.task("offered").offered_to == ""
    told = await facts(cluster)
    assert (told["claim_taken_back", "t"], told["offer_withdrawn", "offered"]) == (1, 1)


@pytest.mark.parametrize("wake", [False, True])
async def test_c7_an_ended_task_is_archived_once_when_the_leader_freezes(
    cluster: Cluster, wake: bool
) -> None:
    bert = cluster["bert"].fabric
    await bert.coordinator.register_swarm("s")
    await bert.create(new_task("t", dispatch=Dispatch.MANUAL))
    await cluster.settled()
    await complete(cluster, "carl", "t")
    cluster["anna"].line.freeze()
    await cluster.pass_time(KEEP_ENDED.total_seconds() + 1)
    assert "t" in bert.coordinator.tasks
    await take_over(cluster, wake=wake)
    await cluster.pass_time(1)
    for each in cluster.awake():
        assert "t" not in each.fabric.coordinator.tasks
        found = await each.fabric.coordinator.records.find("t")
        assert found is not None
        assert found.state is TaskState.COMPLETED


async def test_c10_what_a_leader_with_an_old_view_takes_back_is_held_again(
    cluster: Cluster,
) -> None:
    """C10: a leader that wakes up acts on the fabric as it was, and nothing comes of it."""
    link = await cluster["bert"].fabric.join("s", {"x"})
    await cluster["bert"].fabric.create(new_task("t", needs={"x"}))
    await cluster.settled()
    cluster["anna"].fall_behind()
    await cluster.store.revoke(link.lease)
    cluster["carl"].lead()
    for _ in range(5):
        await cluster["carl"].fabric.mirror.catch_up()
    await cluster["bert"].fabric.join("s", {"x"})
    await cluster["carl"].fabric.mirror.catch_up()
    cluster["anna"].come_along()
    await cluster.settled()
    for each in cluster.replicas.values():
        held = each.fabric.task("t").claim
        assert held is not None
        assert held.swarm_id == "s"
    told = await facts(cluster)
    assert told["claim_taken_back", "t"] + told["claim_taken_over", "t"] == 1


async def elected(cluster: Cluster, *names: str) -> dict[str, ElectedLeader]:
    """Start replicas that elect their leader."""
    leaders: dict[str, ElectedLeader] = {}
    for name in names:

        def lead(line: Line, mirror: Mirror, name: str = name) -> ElectedLeader:
            leaders[name] = ElectedLeader(
                line, mirror, cluster.clock, name, sleep=cluster.clock.sleep
            )
            return leaders[name]

        await cluster.add(name, lead=lead)
    await cluster.pass_time(1)
    return leaders


def leading(leaders: dict[str, ElectedLeader]) -> list[str]:
    """Return who believes to lead."""
    return [name for name, leader in leaders.items() if leader.leading]


async def test_u6_the_replicas_elect_one_leader_and_another_when_it_dies() -> None:
    async with running_cluster() as cluster:
        leaders = await elected(cluster, "anna", "bert", "carl")
        (first,) = leading(leaders)
        await cluster.kill(first)
        del leaders[first]
        for _ in range(7):
            await cluster.pass_time(1)
        (second,) = leading(leaders)
        assert {each.leader for each in leaders.values()} == {second}


async def test_u6_a_leader_that_froze_leads_no_more_before_another_one_does() -> None:
    async with running_cluster() as cluster:
        leaders = await elected(cluster, "anna", "bert")
        (first,) = leading(leaders)
        (other,) = leaders.keys() - {first}
        terms = leaders[first].term
        cluster[first].line.freeze()
        for _ in range(100):
            await cluster.pass_time(0.1)
            assert len(leading(leaders)) <= 1
        assert leading(leaders) == [other]
        cluster[first].line.thaw()
        await cluster.pass_time(1)
        assert leading(leaders) == [other]
        assert (leaders[other].term or 0) > (terms or 0)
        result = await cluster.store.txn(leaders[first].fence(), [])
        assert not result.succeeded
        assert (await cluster.store.txn(leaders[other].fence(), [])).succeeded


async def test_u6_a_leader_that_was_silent_for_a_moment_looks_at_everything_again() -> None:
    """U6: what happened while it did not count as one is not forgotten."""
    async with running_cluster() as cluster:
        leaders = await elected(cluster, "anna")
        fabric = (await cluster.add("bert")).fabric
        await fabric.coordinator.register_swarm("s")
        await fabric.create(new_task("a", dispatch=Dispatch.MANUAL))
        await fabric.create(new_task("b", "a", dispatch=Dispatch.MANUAL))
        await cluster.settled()
        cluster["anna"].line.freeze()
        await cluster.pass_time(3)
        assert leading(leaders) == []
        await complete(cluster, "bert", "a")
        cluster["anna"].bus.hears = True
        cluster["anna"].line.thaw()
        for _ in range(8):
            await cluster.pass_time(1)
        assert leading(leaders) == ["anna"]
        assert fabric.task("b").state is TaskState.AVAILABLE


async def test_c11_a_drained_replica_hands_its_lead_and_its_sessions_over() -> None:
    async with running_cluster() as cluster:
        leaders = await elected(cluster, "anna", "bert")
        (first,) = leading(leaders)
        (other,) = leaders.keys() - {first}
        link = await cluster[first].fabric.join("s", {"x"})
        await cluster[first].fabric.create(new_task("t", needs={"x"}))
        await cluster.settled()
        assert link.working == {"t": 1}
        (token,) = [each.resume_token for each in await said(link) if isinstance(each, Opened)]
        cluster[first].fabric.coordinator.sessions.drain("it stops")
        assert not link.live
        again = await cluster[other].fabric.join("s", {"x"}, token=token)
        await cluster.settled()
        assert again.working == {"t": 1}
        cluster[first].stopped.set()
        await cluster.pass_time(1)
        assert leaders[other].leading
        with pytest.raises(FabricError):
            cluster[other].fabric.coordinator.sessions.acknowledge(again, "t", 2)


async def test_c3_who_was_forgotten_and_registers_again_holds_nothing(cluster: Cluster) -> None:
    """C3: also when the replica that forgot it died before it gave its tasks back."""
    await cluster["carl"].fabric.join("s", {"x"})
    await cluster["carl"].fabric.create(new_task("t", needs={"x"}))
    await cluster.settled()
    cluster["anna"].line.freeze()
    fleet = cluster["bert"].fabric.fleet
    await cluster.store.txn([], [fleet.swarms.delete("s"), fleet.sessions.delete("s")])
    await cluster["bert"].fabric.mirror.catch_up()
    for _ in range(50):
        await asyncio.sleep(0)
    cluster["anna"].line.hold_back()
    cluster["anna"].line.thaw()
    await cluster["bert"].fabric.coordinator.register_swarm("s")
    cluster["anna"].come_along()
    await cluster.settled()
    assert cluster["bert"].fabric.task("t").state is TaskState.AVAILABLE
