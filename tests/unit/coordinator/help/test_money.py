"""G9: whoever asked pays for help as far as the budget goes, and then the helper does."""

import asyncio

from infrafabric_server.errors import Reason
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.optimise.models import FABRIC, swarm_account
from tests.harness.fabric import Fabric
from tests.harness.replicas import Cluster
from tests.unit.coordinator.help.kit import (
    accept,
    asked,
    blocked,
    cost,
    drafts,
    helpers,
    refused,
    seen,
)
from tests.unit.coordinator.money import DOLLAR, complete


def total(fabric: Fabric, swarm_id: str) -> int:
    """Return what a swarm has spent."""
    return fabric.ledger.total(swarm_account(swarm_id))


def drawn(fabric: Fabric) -> int:
    """Return what is drawn on the blocked claim."""
    claim = fabric.task("t").claim
    assert claim is not None
    return claim.drawn_micros


async def helped(cluster: Cluster, *swarm_ids: str, budget: int | None = None) -> str:
    """Have swarms help with a task of two dollars; return the id of the request."""
    anna = cluster["anna"].fabric
    await helpers(cluster, *swarm_ids)
    await blocked(anna)
    request = await asked(anna, budget_micros=budget)
    for swarm_id in swarm_ids:
        assert (await accept(anna, request.help_id, swarm_id)).accepted
    await cluster.settled()
    return request.help_id


async def test_g9_what_helpers_spend_is_drawn_on_the_blocked_claim(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    help_id = await helped(cluster, "a", "b", budget=DOLLAR)
    assert await anna.coordinator.costs.track(cost(help_id, "a", 300_000)) == 700_000
    assert await bert.coordinator.costs.track(cost(help_id, "b", 100_000, "ocr")) == 600_000
    await cluster.settled()
    assert (total(bert, "asker"), total(bert, "a"), total(bert, "b")) == (400_000, 0, 0)
    claim = bert.task("t").claim
    assert claim is not None
    assert claim.drawn_on == {"llm": 300_000, "ocr": 100_000}
    assert claim.left_micros == 1_600_000
    assert seen(anna, help_id).spent_micros == 400_000
    first, second = await drafts(anna, "cost_tracked")
    assert (first.swarm_id, first.task_id, first.attempt) == ("asker", "t", 1)
    assert (first.details["helper_swarm_id"], first.details["help_id"]) == ("a", help_id)
    assert (second.details["cost_micros"], second.details["drawn_micros"]) == (100_000, 400_000)
    # Completing the task charges what is new only.
    await complete(anna, "t", 500_000, "asker")
    assert total(anna, "asker") == 500_000


async def test_g9_what_is_beyond_the_budget_is_the_helpers_and_opens_its_breaker(
    cluster: Cluster,
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    help_id = await helped(cluster, "a", "b", budget=DOLLAR)
    assert await anna.coordinator.costs.track(cost(help_id, "a", 1_250_000)) == 0
    await cluster.settled()
    assert (total(bert, "asker"), total(bert, "a"), total(bert, FABRIC)) == (DOLLAR, 250_000, 0)
    assert bert.ledger.total(FABRIC) == 1_250_000
    request = seen(bert, help_id)
    assert (request.spent_micros, request.drawn_micros) == (1_250_000, DOLLAR)
    breaker = anna.breakers.records.of("a")
    assert breaker.cause is BreakerCause.OVERRUN
    assert breaker.detail == f"helpers of {help_id} have spent 1.25 USD, they had 1.00 USD to spend"
    assert not anna.breakers.records.of("asker").open
    mine, own = await drafts(anna, "cost_tracked")
    assert (mine.swarm_id, mine.details["cost_micros"]) == ("asker", DOLLAR)
    assert (own.swarm_id, own.task_id, own.details["cost_micros"]) == ("a", "", 250_000)
    # With nothing left, another helper pays all of it itself.
    assert await bert.coordinator.costs.track(cost(help_id, "b", 40)) == 0
    assert (total(bert, "b"), drawn(bert)) == (40, DOLLAR)
    assert bert.breakers.records.of("b").open


async def test_g9_helpers_that_spend_at_once_never_draw_more_than_the_budget(
    cluster: Cluster,
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    help_id = await helped(cluster, "a", "b", "c", budget=DOLLAR)
    work = [
        (anna, bert)[n % 2].coordinator.costs.track(cost(help_id, "abc"[n % 3], 30_000 + n))
        for n in range(48)
    ]
    answers = await asyncio.gather(*work)
    await cluster.settled()
    spent = sum(30_000 + n for n in range(48))
    assert min(answers) == 0
    assert total(anna, "asker") == drawn(anna) == DOLLAR
    assert sum(total(bert, each) for each in "abc") == spent - DOLLAR
    assert anna.ledger.total(FABRIC) == spent
    request = seen(bert, help_id)
    assert (request.spent_micros, request.drawn_micros) == (spent, DOLLAR)
    claim = anna.task("t").claim
    assert claim is not None
    assert claim.left_micros == DOLLAR


async def test_g9_a_reservation_that_the_asker_spends_itself_is_its_own_overrun(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    help_id = await helped(cluster, "a")
    assert seen(anna, help_id).budget_micros == 2 * DOLLAR
    await anna.coordinator.costs.track(cost(help_id, "a", 100_000))
    own = cost("", "asker", 1_800_000)
    await anna.coordinator.costs.track(type(own)(own.swarm_id, own.operation, own.micros, "t", 1))
    # Helpers are told what is there, and what they were promised is kept.
    assert await anna.coordinator.costs.track(cost(help_id, "a", 50_000)) == 50_000
    assert await anna.coordinator.costs.track(cost(help_id, "a", 100_000)) == 0
    await cluster.settled()
    assert (total(anna, "asker"), total(anna, "a")) == (2_050_000, 0)
    assert anna.breakers.records.of("asker").cause is BreakerCause.OVERRUN
    assert not anna.breakers.records.of("a").open


async def test_g9_a_repeat_by_request_id_charges_once(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    help_id = await helped(cluster, "a", budget=DOLLAR)
    work = [each.coordinator.costs.track(cost(help_id, "a", 500), "r") for each in (anna, bert) * 5]
    assert {*await asyncio.gather(*work)} == {DOLLAR - 500}
    assert drawn(anna) == 500
    reused = await refused(anna.coordinator.costs.track(cost(help_id, "a", 501), "r"))
    assert reused.reason is Reason.REQUEST_ID_REUSED
    await anna.coordinator.resolve_blocker("asker", "t", "")
    assert await anna.coordinator.costs.track(cost(help_id, "a", 500), "r") == 0
    assert anna.ledger.total(FABRIC) == 500


async def test_g9_only_helpers_spend_what_was_promised_to_them(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    help_id = await helped(cluster, "a")
    await anna.coordinator.register_swarm("x")
    for swarm_id in ("x", "asker"):
        refusal = await refused(anna.coordinator.costs.track(cost(help_id, swarm_id, 1)))
        assert refusal.reason is Reason.NOT_A_HELPER
    refusal = await refused(anna.coordinator.costs.track(cost("none", "a", 1)))
    assert refusal.reason is Reason.HELP_NOT_FOUND
    assert not anna.ledger.total(FABRIC)


async def test_g9_a_cost_in_a_session_that_is_over_is_not_charged(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    help_id = await helped(cluster, "a")
    refusal = await refused(anna.coordinator.costs.track(cost(help_id, "a", 1), "", 1))
    assert refusal.reason is Reason.SESSION_FENCED
    assert not seen(anna, help_id).spent_micros


async def test_g9_a_budget_that_somebody_counts_on_is_not_lowered(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    help_id = await helped(cluster, "a", budget=DOLLAR)
    refusal = await refused(asked(anna, budget_micros=DOLLAR - 1))
    assert [each.field for each in refusal.fields] == ["budget_micros"]
    assert refusal.fields[0].rule == (
        "must be at least 1.00 USD while somebody helps; it is 0.999999 USD"
    )
    # Not even when the asker has spent it: that is its own overrun.
    own = cost("", "asker", 1_500_000)
    await anna.coordinator.costs.track(type(own)(own.swarm_id, own.operation, own.micros, "t", 1))
    assert (await asked(anna)).budget_micros == DOLLAR
    assert (await asked(anna, budget_micros=DOLLAR)).budget_micros == DOLLAR
    assert await anna.coordinator.costs.track(cost(help_id, "a", DOLLAR)) == 0
    await cluster.settled()
    assert not anna.breakers.records.of("a").open
