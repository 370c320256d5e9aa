"""G4 on several replicas: what one of them admits, no other one admits once more."""

import asyncio
import re
from pathlib import Path

import pytest

from infrafabric_server.coordinator.models import ClaimOutcome, Dispatch, Refusal
from infrafabric_server.governor.budget.models import Allotments
from infrafabric_server.optimise.models import FABRIC, swarm_account
from infrafabric_server.optimise.roller import Roller
from infrafabric_server.optimise.rollup_store import Rollups
from tests.harness.fabric import Fabric
from tests.harness.lines import HoldingLine
from tests.harness.replicas import Cluster, running_cluster
from tests.unit.coordinator.money import (
    DOLLAR,
    board,
    limit,
    most_reserved,
    priced,
    reserved,
    spent,
)


async def prepare(cluster: Cluster, tasks: int, *, account: str, dollars: int) -> Fabric:
    """Register swarms `s0` to `s7`, limit an account, and create tasks of a dollar each."""
    anna = cluster["anna"].fabric
    for n in range(8):
        await anna.join(f"s{n}", slots=50)
    await limit(anna, account, dollars * DOLLAR)
    if tasks:
        await board(anna, *[DOLLAR] * tasks)
    await cluster.settled()
    return anna


async def claim(cluster: Cluster, name: str, swarm_id: str, task_id: str) -> ClaimOutcome:
    """Claim a task at a replica."""
    return await cluster[name].fabric.coordinator.claim_task(swarm_id, task_id)


async def complete(fabric: Fabric, swarm_id: str, task_id: str, cost: int) -> None:
    """Complete a task for what it cost."""
    attempt = fabric.task(task_id).attempt
    await fabric.coordinator.claims.complete(
        swarm_id, task_id, attempt, result_json="{}", cost_micros=cost
    )


async def roll(cluster: Cluster) -> None:
    """Have anna, who leads, add up what was spent."""
    anna, leader = cluster["anna"].fabric, cluster["anna"].leader
    shares = anna.parts.shares
    assert shares is not None
    assert leader is not None
    rollups = Rollups(anna.store, anna.ledger.costs)
    roller = Roller(anna.mirror, anna.ledger, rollups, leader, anna.clock, settle=shares.settle)
    assert not await roller.roll()
    await cluster.settled()


async def allotments(fabric: Fabric) -> Allotments:
    """Return the shares of the fabric's limit."""
    kv = await fabric.store.get(f"allotments/{FABRIC}")
    return Allotments() if kv is None else Allotments.model_validate_json(kv.value)


@pytest.mark.parametrize("account", [swarm_account("s0"), FABRIC])
async def test_g4_claimers_at_two_replicas_never_reserve_more_than_there_is(
    cluster: Cluster, account: str
) -> None:
    await prepare(cluster, 300, account=account, dollars=30)
    swarms = 1 if account != FABRIC else 8
    over = asyncio.Event()
    watching = asyncio.create_task(most_reserved(cluster.store, over))
    outcomes = await asyncio.gather(
        *(
            claim(cluster, ("anna", "bert")[n % 2], f"s{n // 2 % swarms}", f"t{n}")
            for n in range(300)
        )
    )
    over.set()
    assert sum(outcome.claimed for outcome in outcomes) == 30
    assert {outcome.refusal for outcome in outcomes} == {None, Refusal.BUDGET}
    assert await watching == 30 * DOLLAR


async def test_g4_a_replica_that_is_behind_admits_nothing_twice(cluster: Cluster) -> None:
    await prepare(cluster, 4, account=swarm_account("s0"), dollars=3)
    assert (await claim(cluster, "bert", "s0", "t0")).claimed
    cluster["bert"].fall_behind()
    assert (await claim(cluster, "anna", "s0", "t1")).claimed
    assert (await claim(cluster, "bert", "s0", "t2")).claimed
    waiting = asyncio.create_task(claim(cluster, "bert", "s0", "t3"))
    cluster["bert"].come_along()
    assert (await waiting).refusal is Refusal.BUDGET
    assert await reserved(cluster.store, "s0") == 3 * DOLLAR


async def test_g4_a_replica_that_did_not_see_a_claim_end_learns_first_what_it_cost(
    cluster: Cluster,
) -> None:
    anna = await prepare(cluster, 5, account=swarm_account("s0"), dollars=3)
    assert (await claim(cluster, "bert", "s0", "t0")).claimed
    cluster["bert"].fall_behind()
    assert (await claim(cluster, "anna", "s0", "t1")).claimed
    await complete(anna, "s0", "t1", DOLLAR)
    # This one takes the note of the one before it away.
    assert (await claim(cluster, "anna", "s0", "t2")).claimed
    waiting = asyncio.create_task(claim(cluster, "bert", "s0", "t3"))
    await cluster.store.get("nothing")
    cluster["bert"].come_along()
    assert (await waiting).refusal is Refusal.BUDGET


async def test_g4_a_replica_gives_back_what_it_does_not_need(cluster: Cluster) -> None:
    anna = await prepare(cluster, 4, account=FABRIC, dollars=2)
    for task_id in ("t0", "t1"):
        assert (await claim(cluster, "anna", "s0", task_id)).claimed
    for task_id in ("t0", "t1"):
        await complete(anna, "s0", task_id, 0)
    await cluster.settled()
    assert (await allotments(anna)).shares == {"anna": 2 * DOLLAR}
    for task_id in ("t2", "t3"):
        assert (await claim(cluster, "bert", "s1", task_id)).claimed
    assert (await allotments(anna)).shares == {"anna": 0, "bert": 2 * DOLLAR}
    assert not (await allotments(anna)).wanted


async def test_g4_a_share_shrinks_by_what_was_spent_when_that_is_counted(cluster: Cluster) -> None:
    anna = await prepare(cluster, 6, account=FABRIC, dollars=2)
    for task_id in ("t0", "t1"):
        assert (await claim(cluster, "anna", "s0", task_id)).claimed
    for task_id in ("t0", "t1"):
        await complete(anna, "s0", task_id, DOLLAR // 2)
    await roll(cluster)
    assert (await allotments(anna)).shares == {"anna": DOLLAR}
    assert await spent(cluster.store) == DOLLAR
    assert (await claim(cluster, "bert", "s1", "t2")).claimed
    assert (await claim(cluster, "bert", "s1", "t3")).refusal is Refusal.BUDGET


async def test_g4_the_share_of_a_replica_that_died_is_free_but_for_its_claims() -> None:
    async with running_cluster("anna", "bert") as cluster:
        anna = await prepare(cluster, 6, account=FABRIC, dollars=3)
        for task_id in ("t0", "t1", "t2"):
            assert (await claim(cluster, "bert", "s1", task_id)).claimed
        await complete(cluster["bert"].fabric, "s1", "t0", 0)
        await cluster.kill("bert")
        await cluster.pass_time(6.0)
        assert (await claim(cluster, "anna", "s0", "t3")).claimed
        assert (await claim(cluster, "anna", "s0", "t4")).refusal is Refusal.BUDGET
        assert (await allotments(anna)).shares == {"anna": DOLLAR}
        assert await reserved(cluster.store) == 3 * DOLLAR


async def test_g4_a_lower_limit_counts_at_every_replica_at_once(cluster: Cluster) -> None:
    anna = await prepare(cluster, 6, account=FABRIC, dollars=4)
    assert (await claim(cluster, "anna", "s0", "t0")).claimed
    assert (await claim(cluster, "bert", "s1", "t1")).claimed
    cluster["bert"].fall_behind()
    await limit(anna, FABRIC, 2 * DOLLAR)
    waiting = asyncio.create_task(claim(cluster, "bert", "s1", "t2"))
    cluster["bert"].come_along()
    assert (await waiting).refusal is Refusal.BUDGET
    assert await reserved(cluster.store) == 2 * DOLLAR


async def test_g4_boards_are_assigned_within_the_limit(cluster: Cluster) -> None:
    anna = await prepare(cluster, 0, account=FABRIC, dollars=3)
    await board(anna, *[DOLLAR] * 6, dispatch=Dispatch.AUTO)
    await cluster.settled()
    assert await reserved(cluster.store) == 3 * DOLLAR


async def some_turns() -> None:
    """Let claims get as far as they do without the store's answer."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("before", [None, 20 * DOLLAR])
async def test_g4_a_limit_set_while_claims_queue_counts_for_them(
    cluster: Cluster, before: int | None
) -> None:
    anna = await prepare(cluster, 10, account=FABRIC, dollars=20)
    await limit(anna, FABRIC, before)
    line = HoldingLine(cluster.store)
    cleo = (await cluster.add("cleo", line)).fabric
    await cluster.settled()
    line.hold_folds()
    claims = [asyncio.create_task(claim(cluster, "cleo", "s0", "t0"))]
    await line.held.wait()
    claims += [asyncio.create_task(claim(cluster, "cleo", "s0", f"t{n}")) for n in range(1, 10)]
    await some_turns()
    await limit(anna, FABRIC, 2 * DOLLAR)
    await cleo.mirror.caught_up(await cluster.store.revision())
    line.open.set()
    outcomes = await asyncio.gather(*claims)
    assert await reserved(cluster.store) == 2 * DOLLAR
    assert sum(outcome.claimed for outcome in outcomes) == 2


async def last_change(cluster: Cluster) -> int:
    """Return the revision of the last change of the shares."""
    kv = await cluster.store.get(f"allotments/{FABRIC}")
    return 0 if kv is None else kv.mod_revision


async def test_g4_others_are_not_asked_again_at_once_for_what_they_did_not_give(
    cluster: Cluster,
) -> None:
    await prepare(cluster, 4, account=FABRIC, dollars=1)
    line = HoldingLine(cluster.store)
    cleo = (await cluster.add("cleo", line)).fabric
    await cluster.settled()
    line.hold_folds()
    first = asyncio.create_task(claim(cluster, "cleo", "s0", "t0"))
    await line.held.wait()
    before = await last_change(cluster)
    assert (await claim(cluster, "bert", "s1", "t1")).refusal is Refusal.BUDGET
    asked = await last_change(cluster)
    assert asked > before
    assert (await claim(cluster, "bert", "s1", "t2")).refusal is Refusal.BUDGET
    assert await last_change(cluster) == asked
    line.open.set()
    assert (await first).claimed
    await complete(cleo, "s0", "t0", 0)
    await cluster.settled()
    assert (await claim(cluster, "bert", "s1", "t1")).claimed


async def test_g4_tasks_that_nobody_is_given_at_once_need_no_share(cluster: Cluster) -> None:
    anna = await prepare(cluster, 2, account=FABRIC, dollars=2)
    for name, task_id in (("anna", "t0"), ("bert", "t1")):
        assert (await claim(cluster, name, "s0", task_id)).claimed
    await complete(anna, "s0", "t0", 3 * DOLLAR)
    await complete(anna, "s0", "t1", 0)
    await cluster.settled()
    before = await last_change(cluster)
    revision = await cluster.store.revision()
    await cluster["bert"].fabric.create((priced("t9", DOLLAR), Dispatch.MANUAL))
    assert await last_change(cluster) == before
    assert await cluster.store.revision() == revision + 1


GUIDE = Path(__file__).parents[3] / "docs" / "budgets.md"
ROW = re.compile(
    r"^\| (?:anna|bert) [^|]+\| ([\d.]+) \| ([\d.]+) \| ([\d.]*) ?\| ([\d.]+) \|$", re.MULTILINE
)


async def test_g4_the_shares_of_the_guide_are_what_replicas_have(cluster: Cluster) -> None:
    anna = await prepare(cluster, 6, account=FABRIC, dollars=5)
    found: list[tuple[str, ...]] = []

    async def note() -> None:
        await cluster.settled()
        shares = (await allotments(anna)).shares
        total = await spent(cluster.store)
        free = 5 * DOLLAR - total - sum(shares.values())
        amounts = [total, shares["anna"], shares.get("bert"), free]
        found.append(tuple("" if each is None else f"{each / DOLLAR:.2f}" for each in amounts))

    for name, numbers in (("anna", range(3)), ("bert", range(3, 5))):
        won = await asyncio.gather(*(claim(cluster, name, f"s{n}", f"t{n}") for n in numbers))
        assert all(outcome.claimed for outcome in won)
        await note()
    for n in range(3):
        await complete(anna, f"s{n}", f"t{n}", DOLLAR // 2)
    await roll(cluster)
    await note()
    assert (await claim(cluster, "bert", "s0", "t5")).claimed
    await note()
    written = [
        tuple(f"{float(each):.2f}" if each else "" for each in row)
        for row in ROW.findall(GUIDE.read_text())
    ]
    assert found == written
