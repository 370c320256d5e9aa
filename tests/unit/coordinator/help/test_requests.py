"""G9: asking for help, and accepting to help, at several replicas."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from infrafabric_server.coordinator.models import BlockerReport
from infrafabric_server.errors import InvalidField, Reason
from infrafabric_server.governor.breaker.models import BreakerCause, Pool
from infrafabric_server.governor.help.models import HelpState, Urgency
from tests.harness.replicas import Cluster
from tests.unit.coordinator.help.kit import (
    NEEDS,
    accept,
    asked,
    blocked,
    cost,
    drafts,
    helpers,
    refused,
    seen,
    wanted,
)
from tests.unit.coordinator.money import DOLLAR


async def test_g9_a_request_opens_the_blocker_and_parks_the_task_at_one_revision(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    await blocked(anna)
    request = await asked(anna)
    alert = anna.coordinator.blockers.entry("asker/t")
    help_entry = anna.coordinator.help.entry(request.help_id)
    task = anna.coordinator.tasks.entry("t")
    assert alert is not None
    assert help_entry is not None
    assert task is not None
    assert alert.mod_revision == help_entry.mod_revision == task.mod_revision
    assert (alert.value.description, alert.value.needs) == ("no driver fits", NEEDS)
    assert alert.value.help_id == request.help_id
    assert task.value.claim is not None
    assert task.value.claim.parked
    (draft,) = await drafts(anna, "help_requested")
    assert (draft.swarm_id, draft.task_id, draft.attempt) == ("asker", "t", 1)
    assert draft.details["budget_micros"] == request.budget_micros == 2 * DOLLAR
    assert len(await drafts(anna, "blocker_reported")) == 1


async def test_g9_a_repeat_changes_nothing_though_it_is_over(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await blocked(anna)
    await asked(anna, request_id="r")
    await cluster.settled()
    (first,) = (await anna.coordinator.help_requests.page("", 9, None)).found
    revision = await anna.store.revision()
    assert await asked(anna, request_id="r") == first
    assert await anna.store.revision() == revision
    await bert.coordinator.resolve_blocker("asker", "t", "found one")
    await cluster.settled()
    again = await asked(bert, request_id="r")
    assert (again.help_id, again.state) == (first.help_id, HelpState.ENDED)


async def test_g9_another_call_changes_what_is_asked_for_and_helpers_stay(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    await blocked(anna)
    first = await asked(anna, budget_micros=DOLLAR)
    await helpers(cluster, "h")
    assert (await accept(anna, first.help_id, "h")).accepted
    await anna.coordinator.costs.track(cost(first.help_id, "h", 400))
    again = await asked(anna, reason="worse", needs=frozenset({"tpu"}), urgency=Urgency.HIGH)
    assert again.help_id == first.help_id
    assert again.helper_ids == ("h",)
    assert (again.reason, again.urgency) == ("worse", Urgency.HIGH)
    # All that is left of the reservation, beside what helpers have drawn on it.
    assert (again.budget_micros, again.left_micros) == (2 * DOLLAR, 2 * DOLLAR - 400)
    # A blocker that is reported in between keeps its request.
    report = BlockerReport(task_id="t", attempt=1, description="still", needs=frozenset({"x"}))
    assert (await anna.coordinator.detect_blocker("asker", report)).help_id == first.help_id
    assert (await accept(anna, first.help_id, "h")).accepted


async def test_g9_a_budget_beyond_the_reservation_is_refused_with_both_numbers(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    await blocked(anna, cost=300)
    with pytest.raises(InvalidField) as error:
        await asked(anna, budget_micros=301)
    assert [each.field for each in error.value.fields] == ["budget_micros"]
    assert "at most 0.0003 USD" in error.value.message
    assert "it is 0.000301 USD" in error.value.message
    assert not list(anna.coordinator.help)
    assert (await asked(anna, budget_micros=300)).budget_micros == 300


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"swarm_id": "nobody"}, Reason.SWARM_NOT_FOUND),
        ({"task_id": "none"}, Reason.TASK_NOT_FOUND),
        ({"attempt": 2}, Reason.STALE_ATTEMPT),
        ({"swarm_id": "h"}, Reason.NOT_OWNER),
    ],
)
async def test_g9_only_the_holder_asks(
    cluster: Cluster, said: dict[str, Any], reason: Reason
) -> None:
    anna = cluster["anna"].fabric
    await blocked(anna)
    await helpers(cluster, "h")
    refusal = await refused(anna.coordinator.help_requests.request(wanted(**said)))
    assert refusal.reason is reason
    await anna.coordinator.claims.release("asker", "t", 1, "")
    refusal = await refused(asked(anna))
    assert refusal.reason is Reason.TASK_NOT_CLAIMED


async def test_g9_three_of_fifty_that_accept_at_once_at_two_replicas_do(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await blocked(anna)
    request = await asked(anna)
    for n in range(50):
        await anna.coordinator.register_swarm(f"s{n}", NEEDS)
    await cluster.settled()
    answers = await asyncio.gather(
        *(accept((anna, bert)[n % 2], request.help_id, f"s{n}") for n in range(50))
    )
    await cluster.settled()
    won = [n for n, answer in enumerate(answers) if answer.accepted]
    assert len(won) == 3
    assert {*seen(bert, request.help_id).helper_ids} == {f"s{n}" for n in won}
    assert seen(anna, request.help_id).state is HelpState.STAFFED
    refusals = {answer.refusal for answer in answers if not answer.accepted}
    assert refusals == {"3 help already, at most 3 may"}
    assert len(await drafts(anna, "help_accepted")) == 3


async def test_g9_a_repeat_helps_and_neither_the_asker_nor_a_stranger_does(
    cluster: Cluster,
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await blocked(anna)
    request = await asked(anna)
    await helpers(cluster, "h")
    cluster["bert"].fall_behind()
    joined = await accept(anna, request.help_id, "h")
    assert joined.accepted
    assert await cluster["bert"].behind(accept(bert, request.help_id, "h")) == joined
    with pytest.raises(InvalidField, match="swarm_id: must be another swarm than asker"):
        await accept(anna, request.help_id, "asker")
    assert (await refused(accept(anna, request.help_id, "x"))).reason is Reason.SWARM_NOT_FOUND
    assert (await refused(accept(anna, "none", "h"))).reason is Reason.HELP_NOT_FOUND


async def test_g9_who_may_have_no_work_may_not_help(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await blocked(anna)
    request = await asked(anna)
    await helpers(cluster, "h")
    await anna.breakers.trip("h", BreakerCause.MANUAL, "odd answers")
    await cluster.settled()
    answer = await accept(bert, request.help_id, "h")
    assert not answer.accepted
    assert "odd answers" in answer.refusal
    await anna.breakers.reset("h", "Ann", "fixed")
    pools = anna.breakers.records.pools
    until = anna.clock.now() + timedelta(hours=1)
    paused = pools.put("swarm:h", Pool(pool_id="swarm:h", paused_until=until))
    await anna.mirror.commit([], [paused])
    await cluster.settled()
    assert "is paused until" in (await accept(bert, request.help_id, "h")).refusal
    await anna.mirror.commit([], [pools.delete("swarm:h")])
    await anna.breakers.trip("", BreakerCause.MANUAL, "maintenance")
    await cluster.settled()
    assert "on hold: maintenance" in (await accept(bert, request.help_id, "h")).refusal
    await anna.breakers.reset("", "Ann", "done")
    await cluster.settled()
    assert (await accept(bert, request.help_id, "h")).accepted


async def test_g9_a_swarm_helps_with_as_many_requests_as_it_has_slots(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    made = []
    for n in range(4):
        await blocked(anna, f"a{n}", f"t{n}")
        made.append((await asked(anna, f"a{n}", task_id=f"t{n}")).help_id)
    await anna.join("h", {*NEEDS}, slots=2)
    await cluster.settled()
    answers = await asyncio.gather(*(accept(anna, each, "h") for each in made))
    assert [each.accepted for each in answers] == [True, True, False, False]
    assert answers[3].refusal == "h helps with as many requests as it has slots, 2"
    assert (await accept(bert, made[0], "h")).accepted
    # A request that is over takes no slot, whether the leader has noticed or not.
    cluster["anna"].lead(leading=False)
    await anna.coordinator.resolve_blocker("a0", "t0", "found one")
    assert (await accept(bert, made[2], "h")).accepted


async def test_g9_a_breaker_that_opens_while_one_accepts_decides(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await blocked(anna)
    request = await asked(anna)
    await helpers(cluster, "h")
    await cluster.settled()
    cluster["bert"].fall_behind()
    await anna.breakers.trip("h", BreakerCause.MANUAL, "odd answers")
    answer = await cluster["bert"].behind(accept(bert, request.help_id, "h"))
    assert not answer.accepted


async def test_g9_requests_are_listed_by_age_whoever_made_them(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    made = []
    for n, at in enumerate((bert, anna, bert)):
        await blocked(at, f"a{n}", f"t{n}")
        made.append((await asked(at, f"a{n}", task_id=f"t{n}")).help_id)
        await cluster.pass_time(1)
    await bert.coordinator.resolve_blocker("a1", "t1", "")
    await cluster.settled()

    async def page(after: str, limit: int, state: HelpState | None) -> list[str]:
        part = await anna.coordinator.help_requests.page(after, limit, state)
        return [each.help_id for each in part.found]

    assert await page("", 10, None) == made
    assert await page("", 10, HelpState.ENDED) == [made[1]]
    assert await page(made[0], 1, None) == [made[1]]
