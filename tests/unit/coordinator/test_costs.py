"""G3: costs that come in while work goes on, and what becomes of them when it ends."""

import asyncio

import pytest

from infrafabric_server.coordinator.models import LossKind
from infrafabric_server.coordinator.rules import MAX_OPERATIONS, OTHER_OPERATIONS
from infrafabric_server.errors import FabricError, InvalidField, Reason
from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.governor.budget.ports import Spent
from infrafabric_server.limits import MAX_MONEY_MICROS
from infrafabric_server.optimise.models import FABRIC, Cost, Waste, swarm_account
from tests.harness.fabric import Fabric
from tests.harness.replicas import Cluster
from tests.unit.coordinator.money import DOLLAR, board, limit


async def held(fabric: Fabric, *, session: bool = False) -> None:
    """Have `s` hold `t0`, which may cost two dollars."""
    link = await fabric.join("s")
    await board(fabric, 2 * DOLLAR)
    claims = fabric.coordinator.claims
    assert (await claims.claim("s", "t0", link.epoch if session else None)).claimed


def wasted(fabric: Fabric) -> dict[str, int]:
    """Return what was spent in vain, by kind and operation."""
    costs = [cost for _, cost in fabric.ledger.costs.items() if cost.waste is not None]
    return {f"{cost.waste}/{cost.operation}": cost.micros for cost in costs}


def on(task_id: str, micros: int, operation: str = "llm", attempt: int = 1) -> Spent:
    """Return a cost of `s` for a task."""
    return Spent("s", operation, micros, task_id, attempt)


async def test_g3_a_cost_is_in_the_ledger_and_in_the_witness_log_at_once(fabric: Fabric) -> None:
    await held(fabric)
    assert await fabric.coordinator.costs.track(on("t0", 300)) == 2 * DOLLAR - 300
    await fabric.coordinator.costs.track(Spent("s", "rent", 40))
    assert fabric.ledger.total(swarm_account("s")) == fabric.ledger.total(FABRIC) == 340
    page = await fabric.store.range("outbox/", limit=1000)
    said = [kv.value for kv in page.kvs if "cost_tracked" in kv.value]
    assert len(said) == 2
    assert '"operation":"llm"' in said[0]
    assert '"drawn_micros":300' in said[0]


async def test_g3_costs_with_one_request_id_charge_once_however_they_race(fabric: Fabric) -> None:
    await held(fabric)
    track = fabric.coordinator.costs.track
    answers = await asyncio.gather(*(track(on("t0", 500), "r") for _ in range(20)))
    assert set(answers) == {2 * DOLLAR - 500}
    assert fabric.ledger.total(FABRIC) == 500
    await fabric.coordinator.claims.release("s", "t0", 1, "")
    assert await track(on("t0", 500), "r") == 0
    with pytest.raises(FabricError) as reused:
        await track(on("t0", 501), "r")
    assert reused.value.reason is Reason.REQUEST_ID_REUSED


async def test_w4_waste_is_told_apart_by_operation(fabric: Fabric) -> None:
    await held(fabric)
    for number in range(MAX_OPERATIONS + 2):
        await fabric.coordinator.costs.track(on("t0", 1 + number, f"op{number}"))
    await fabric.coordinator.claims.lose("s", "t0", 1, LossKind.EXPIRED)
    waste = wasted(fabric)
    assert len(waste) == MAX_OPERATIONS + 1
    assert waste["fenced/op0"] == 1
    assert waste[f"fenced/{OTHER_OPERATIONS}"] == 2 * MAX_OPERATIONS + 3
    assert fabric.ledger.total(FABRIC) == sum(waste.values())


async def test_g4_another_process_spends_what_the_first_has_left(fabric: Fabric) -> None:
    await held(fabric, session=True)
    await fabric.coordinator.costs.track(on("t0", DOLLAR // 2))
    await fabric.join("s")
    claim = fabric.task("t0").claim
    assert claim is not None
    assert (claim.attempt, claim.left_micros, claim.drawn_micros) == (2, 3 * DOLLAR // 2, 0)
    assert wasted(fabric) == {"fenced/llm": DOLLAR // 2}
    with pytest.raises(FabricError) as stale:
        await fabric.coordinator.costs.track(on("t0", 1))
    assert stale.value.reason is Reason.STALE_ATTEMPT


async def test_w4_what_an_orchestrator_gives_back_is_repeated_work(fabric: Fabric) -> None:
    await held(fabric, session=True)
    await fabric.coordinator.costs.track(on("t0", 7))
    await fabric.join("s", role=SessionRole.ORCHESTRATOR)
    assert wasted(fabric) == {f"{Waste.REPEATED}/llm": 7}


async def test_w4_completed_work_is_compared_with_the_cheapest_swarm(fabric: Fabric) -> None:
    await fabric.join("s", cost=4 * DOLLAR)
    await fabric.join("cheap", cost=DOLLAR)
    await board(fabric, 2 * DOLLAR)
    await fabric.coordinator.claim_task("s", "t0")
    await fabric.coordinator.costs.track(on("t0", 300))
    complete = fabric.coordinator.claims.complete
    await complete("s", "t0", 1, result_json="", cost_micros=400)
    last = [cost for _, cost in fabric.ledger.costs.items() if cost.cheapest_micros is not None]
    assert [(cost.micros, cost.cheapest_micros) for cost in last] == [(100, 100)]


@pytest.mark.parametrize("tracked", [True, False])
async def test_g4_a_cost_beyond_the_reservation_counts_and_opens_the_breaker(
    fabric: Fabric, *, tracked: bool
) -> None:
    await held(fabric)
    if tracked:
        await fabric.coordinator.costs.track(on("t0", 3 * DOLLAR))
    else:
        complete = fabric.coordinator.claims.complete
        await complete("s", "t0", 1, result_json="", cost_micros=3 * DOLLAR)
    assert fabric.ledger.total(FABRIC) == 3 * DOLLAR
    assert fabric.breakers.records.of("s").cause is BreakerCause.OVERRUN


@pytest.mark.parametrize("tracked", [0, 1, 3])
@pytest.mark.parametrize("account", [None, FABRIC, swarm_account("s")])
@pytest.mark.parametrize("dollars", [4, 5, 100])
async def test_g4_the_default_reservation_binds_only_where_the_accounts_have_no_more(
    fabric: Fabric, account: str | None, dollars: int, tracked: int
) -> None:
    await fabric.join("s")
    await board(fabric, None)
    if account is not None:
        await limit(fabric, account, dollars * DOLLAR)
    await fabric.coordinator.claim_task("s", "t0")
    if tracked:
        await fabric.coordinator.costs.track(on("t0", tracked * DOLLAR))
    assert not fabric.breakers.records.of("s").open
    await fabric.coordinator.claims.complete("s", "t0", 1, result_json="", cost_micros=5 * DOLLAR)
    assert fabric.ledger.total(FABRIC) == 5 * DOLLAR
    breaker = fabric.breakers.records.of("s")
    assert breaker.open is (account is not None and dollars < 5)
    assert breaker.cause in (None, BreakerCause.OVERRUN)


async def test_g4_what_other_claims_reserve_is_not_there_for_a_dear_attempt(fabric: Fabric) -> None:
    await fabric.join("s", slots=2)
    await board(fabric, None, None)
    await limit(fabric, FABRIC, 5 * DOLLAR)
    for task_id in ("t0", "t1"):
        await fabric.coordinator.claim_task("s", task_id)
    await fabric.coordinator.costs.track(on("t0", 4 * DOLLAR))
    assert not fabric.breakers.records.of("s").open
    await fabric.coordinator.costs.track(on("t0", 1))
    assert fabric.breakers.records.of("s").cause is BreakerCause.OVERRUN


async def test_g3_no_attempt_costs_more_than_an_amount_may_be(fabric: Fabric) -> None:
    await held(fabric)
    await fabric.coordinator.costs.track(on("t0", MAX_MONEY_MICROS))
    with pytest.raises(InvalidField):
        await fabric.coordinator.costs.track(on("t0", 1))
    assert fabric.ledger.total(FABRIC) == MAX_MONEY_MICROS


async def test_g3_a_cost_of_nobody_is_refused(fabric: Fabric) -> None:
    for spent, reason in (
        (Spent("nobody", "rent", 1), Reason.SWARM_NOT_FOUND),
        (Spent("nobody", "rent", 1, "t0", 1), Reason.TASK_NOT_FOUND),
    ):
        with pytest.raises(FabricError) as refused:
            await fabric.coordinator.costs.track(spent)
        assert refused.value.reason is reason


async def test_g3_replicas_charge_one_claim_together(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await held(anna)
    await cluster.settled()
    costs = anna.coordinator.costs, bert.coordinator.costs
    await asyncio.gather(*(costs[n % 2].track(on("t0", 10), f"r{n // 2}") for n in range(40)))
    await cluster.settled()
    for fabric in (anna, bert):
        assert fabric.ledger.total(FABRIC) == fabric.task("t0").spent_micros == 200


async def test_g4_what_a_dead_replica_was_charging_is_charged_whole_or_not(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    await held(anna)
    await cluster.settled()
    charging = asyncio.gather(
        *(anna.coordinator.costs.track(on("t0", 10)) for _ in range(5)), return_exceptions=True
    )
    await asyncio.sleep(0)
    await cluster.kill("anna")
    assert all(isinstance(each, int | Exception) for each in await charging)
    await cluster.settled()
    left = cluster["bert"].fabric
    stored = (await cluster.store.range("ledger/", limit=100)).kvs
    entered = sum(Cost.model_validate_json(kv.value).micros for kv in stored)
    assert entered == left.task("t0").spent_micros == left.ledger.total(FABRIC)
