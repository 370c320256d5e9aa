"""G6, G7: random histories on two replicas, in which somebody opens a breaker."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from infrafabric_server.coordinator.models import FailureKind, LossKind
from infrafabric_server.errors import FabricError
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.optimise.models import Budget, Period, swarm_account
from tests.harness.fabric import Fabric, new_task
from tests.harness.replicas import Cluster, running_cluster

TASKS = ("a", "b", "c")
Step = Callable[[Cluster, Fabric, str], Awaitable[object]]


async def _claim(_cluster: Cluster, fabric: Fabric, task_id: str) -> None:
    session = fabric.fleet.sessions.entry("s")
    epoch = session.mod_revision if session is not None else None
    await fabric.coordinator.claims.claim("s", task_id, epoch)


async def _end(fabric: Fabric, task_id: str, how: str) -> None:
    attempt, claims = fabric.task(task_id).attempt, fabric.coordinator.claims
    match how:
        case "complete":
            await claims.complete("s", task_id, attempt, result_json="{}", cost_micros=0)
        case "release":
            await claims.release("s", task_id, attempt, "")
        case "lose":
            await claims.lose("s", task_id, attempt, LossKind.EXPIRED)
        case _:
            kind = FailureKind(how)
            await claims.fail("s", task_id, attempt, reason="", kind=kind, retry_time=None)


def _ends(how: str) -> Step:
    return lambda _cluster, fabric, task_id: _end(fabric, task_id, how)


async def _register_anew(_cluster: Cluster, fabric: Fabric, _task_id: str) -> None:
    await fabric.coordinator.registration.deregister("s")
    await fabric.coordinator.register_swarm("s", frozenset({"any"}))


async def _push(_cluster: Cluster, fabric: Fabric, task_id: str) -> None:
    await fabric.coordinator.push_task_to_swarm("s", task_id)


async def _join(_cluster: Cluster, fabric: Fabric, _task_id: str) -> None:
    await fabric.join("s", slots=3)


async def _wait(cluster: Cluster, _fabric: Fabric, _task_id: str) -> None:
    await cluster.pass_time(40)


async def _budget(_cluster: Cluster, fabric: Fabric, _task_id: str) -> None:
    budget = Budget(limit_micros=10**9, period=Period.HOUR, update_time=fabric.clock.now())
    await fabric.mirror.commit([], [fabric.ledger.budgets.put(swarm_account("s"), budget)])


async def _reset_by_nobody(_cluster: Cluster, fabric: Fabric, task_id: str) -> None:
    approver, reason = {"a": ("s", "fine"), "b": ("", "fine"), "c": ("ann", "")}[task_id]
    await fabric.breakers.reset("s", approver, reason)


async def _lead(cluster: Cluster, fabric: Fabric, _task_id: str) -> None:
    for replica in cluster.replicas.values():
        replica.lead(leading=replica.fabric is fabric)


STEPS: list[Step] = [
    _claim,
    _ends("complete"),
    _ends("release"),
    _ends("lose"),
    _ends("retryable"),
    _ends("provider_quota"),
    _register_anew,
    _push,
    _join,
    _wait,
    _budget,
    _reset_by_nobody,
    _lead,
]

histories = st.lists(
    st.tuples(st.sampled_from(STEPS), st.booleans(), st.sampled_from(TASKS)), max_size=12
)


@settings(max_examples=150, deadline=None)
@given(before=histories, following=histories, behind=st.booleans())
def test_g7_nothing_but_a_person_closes_a_breaker_and_no_claim_passes_it(
    before: list[tuple[Step, bool, str]], following: list[tuple[Step, bool, str]], behind: bool
) -> None:
    asyncio.run(_play(before, following, behind=behind))


async def _play(
    before: list[tuple[Step, bool, str]],
    following: list[tuple[Step, bool, str]],
    *,
    behind: bool,
) -> None:
    async with running_cluster("anna", "bert") as cluster:
        anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
        await anna.coordinator.register_swarm("s", frozenset({"any"}))
        await anna.create(*(new_task(task_id) for task_id in TASKS))
        await cluster.settled()
        for step in before:
            await _take(cluster, *step)
        # No claim was won at the very time at which the breaker opens.
        await cluster.clock.advance(0.001)
        if behind:
            cluster["bert"].fall_behind()
        await anna.breakers.trip("s", BreakerCause.MANUAL, "why")
        opened = anna.breakers.records.of("s").open_time
        assert opened is not None
        if behind:
            with contextlib.suppress(FabricError):
                await cluster["bert"].behind(_claim(cluster, bert, "a"))
        for step in following:
            await _take(cluster, *step)
            _check(cluster, opened)
        # Grace over, whatever happened: nothing is held any more.
        await cluster.pass_time(40)
        for replica in cluster.replicas.values():
            assert not replica.fabric.parts.coordinator.held_by("s")
        closed = await bert.breakers.reset("s", "ann", "safe")
        assert not closed.open


async def _take(cluster: Cluster, step: Step, at_anna: bool, task_id: str) -> None:
    with contextlib.suppress(FabricError):
        await step(cluster, cluster["anna" if at_anna else "bert"].fabric, task_id)
    await cluster.settled()


def _check(cluster: Cluster, opened: datetime) -> None:
    for replica in cluster.replicas.values():
        fabric = replica.fabric
        breaker = fabric.breakers.records.of("s")
        assert breaker.open
        assert breaker.open_time is not None
        assert breaker.open_time <= opened
        for task_id in TASKS:
            task = fabric.coordinator.tasks.get(task_id)
            held = None if task is None else task.claim
            assert held is None or held.claim_time < opened
            assert task is None or task.offered_to != "s"
