"""G9: a request ends with its blocker and its claim, whatever ends them and whoever leads."""

from collections.abc import Awaitable, Callable

import pytest

from infrafabric_server.coordinator.models import FailureKind, LossKind
from infrafabric_server.errors import Reason
from infrafabric_server.fleet.models import Status
from infrafabric_server.governor.help.models import HelpRequest, HelpState
from infrafabric_server.optimise.models import FABRIC
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
    status,
)
from tests.unit.coordinator.money import complete

End = Callable[[Fabric], Awaitable[None]]


async def _completed(fabric: Fabric) -> None:
    await complete(fabric, "t", 0, "asker")


async def _failed(fabric: Fabric) -> None:
    await fabric.coordinator.claims.fail(
        "asker", "t", 1, reason="no", kind=FailureKind.RETRYABLE, retry_time=None
    )


async def _released(fabric: Fabric) -> None:
    await fabric.coordinator.claims.release("asker", "t", 1, "")


async def _fenced(fabric: Fabric) -> None:
    await fabric.coordinator.claims.lose("asker", "t", 1, LossKind.HALTED)


async def _session_lost(fabric: Fabric) -> None:
    entry = await fabric.store.get("sessions/asker")
    assert entry is not None
    await fabric.store.revoke(entry.lease)


async def _taken_over(fabric: Fabric) -> None:
    await fabric.join("asker")


async def _cancelled(fabric: Fabric) -> None:
    await fabric.coordinator.endings.cancel("t", "")


async def _resolved(fabric: Fabric) -> None:
    await fabric.coordinator.resolve_blocker("asker", "t", "found one")


async def _deregistered(fabric: Fabric) -> None:
    await fabric.coordinator.registration.deregister("asker")


def _name(end: End) -> str:
    return getattr(end, "__name__", "").strip("_")


ENDS: dict[End, str] = {
    _completed: "the blocker is over: the task was completed",
    _failed: "the blocker is over: the task was failed",
    _released: "the blocker is over: the task was released",
    _fenced: "the blocker is over: the claim was lost: halted",
    _session_lost: "the blocker is over: the claim was lost: session_lost",
    _taken_over: "attempt 1 of asker is over",
    _cancelled: "the blocker is over: the task was cancelled",
    _resolved: "the blocker is over: found one",
    _deregistered: "the blocker is over: the claim was lost: deregistered",
}


@pytest.mark.parametrize("end", ENDS, ids=_name)
async def test_g9_it_ends_however_the_claim_does_while_helpers_are_at_work(
    cluster: Cluster, end: End
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await helpers(cluster, "a", "b", at="bert")
    await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    assert (await accept(bert, request.help_id, "a")).accepted
    await bert.coordinator.costs.track(cost(request.help_id, "a", 700))
    await cluster.settled()
    await end(anna)
    await cluster.settled()
    found = seen(bert, request.help_id)
    assert (found.state, found.helper_ids, found.asked) == (HelpState.ENDED, ("a",), ())
    assert found.end_cause == ENDS[end]
    (draft,) = await drafts(anna, "help_ended")
    assert draft.details["cause"] == ENDS[end]
    assert (draft.details["helpers"], draft.details["spent_micros"]) == (["a"], 700)
    assert status(bert, "a") is Status.IDLE
    assert not (await accept(anna, request.help_id, "b")).accepted
    refusal = await refused(bert.coordinator.costs.track(cost(request.help_id, "a", 1)))
    assert refusal.reason is Reason.HELP_ENDED


async def _ended_unseen(cluster: Cluster, end: End) -> HelpRequest:
    """Have "a" help, and end the claim at anna: bert sees nothing of it, and nobody leads."""
    bert = cluster["bert"].fabric
    request = await asked(bert)
    assert (await accept(bert, request.help_id, "a")).accepted
    await cluster.settled()
    cluster["anna"].lead(leading=False)
    cluster["bert"].fall_behind()
    await end(cluster["anna"].fabric)
    return request


@pytest.mark.parametrize("end", [_released, _taken_over, _resolved], ids=_name)
async def test_g9_nobody_relies_on_the_leader_to_notice_an_end(cluster: Cluster, end: End) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await helpers(cluster, "a", "b", at="bert")
    await blocked(bert)
    request = await _ended_unseen(cluster, end)
    answer = await cluster["bert"].behind(accept(bert, request.help_id, "b"))
    assert (answer.accepted, answer.help.state) == (False, HelpState.OPEN)
    assert answer.refusal.startswith("the request is over")
    refusal = await refused(bert.coordinator.costs.track(cost(request.help_id, "a", 1)))
    assert refusal.reason is Reason.HELP_ENDED
    cluster["bert"].lead()
    await cluster.settled()
    assert seen(anna, request.help_id).state is HelpState.ENDED


@pytest.mark.parametrize("end", [_released, _taken_over, _resolved], ids=_name)
async def test_g9_a_cost_by_an_old_view_is_not_charged_to_a_claim_that_is_over(
    cluster: Cluster, end: End
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await helpers(cluster, "a", at="bert")
    await blocked(bert)
    request = await _ended_unseen(cluster, end)
    after = anna.task("t")
    late = bert.coordinator.costs.track(cost(request.help_id, "a", 500))
    assert (await cluster["bert"].behind(refused(late))).reason is Reason.HELP_ENDED
    assert anna.task("t") == bert.task("t") == after
    assert not anna.ledger.total(FABRIC)


async def test_g9_the_next_attempt_asks_for_itself(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    await blocked(anna)
    first = await asked(anna)
    await _taken_over(anna)
    second = await asked(anna, attempt=2)
    assert second.help_id > first.help_id
    await cluster.settled()
    assert seen(anna, first.help_id).state is HelpState.ENDED
    assert seen(anna, second.help_id).state is HelpState.OPEN


async def test_g9_an_ended_request_can_be_read_for_an_hour(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    await blocked(anna)
    request = await asked(anna)
    await _resolved(anna)
    await cluster.settled()
    await cluster.pass_time(3599)
    assert seen(anna, request.help_id).state is HelpState.ENDED
    cluster["anna"].lead(leading=False)
    cluster["bert"].lead()
    await cluster.settled()
    await cluster.pass_time(2)
    assert not list(anna.coordinator.help)


async def test_g9_whoever_leads_next_offers_what_was_asked_for_before(cluster: Cluster) -> None:
    bert = cluster["bert"].fabric
    await helpers(cluster, "a", at="bert")
    await blocked(bert)
    await cluster.settled()
    await cluster.kill("anna")
    request = await asked(bert)
    await cluster.settled()
    assert seen(bert, request.help_id).asked == ()
    cluster["bert"].lead()
    await cluster.settled()
    assert seen(bert, request.help_id).asked_ids == ("a",)


async def test_g9_an_offer_runs_out_under_the_next_leader(cluster: Cluster) -> None:
    bert = cluster["bert"].fabric
    await helpers(cluster, "a", "b", "c", "d", at="bert")
    await blocked(bert)
    request = await asked(bert)
    await cluster.settled()
    assert seen(bert, request.help_id).asked_ids == ("a", "b", "c")
    await cluster.pass_time(20)
    await cluster.kill("anna")
    await bert.coordinator.help_requests.accept(request.help_id, "b")
    await cluster.pass_time(9)
    cluster["bert"].lead()
    await cluster.settled()
    assert seen(bert, request.help_id).asked_ids == ("a", "c")
    await cluster.pass_time(1)
    found = seen(bert, request.help_id)
    assert (found.helper_ids, found.asked_ids) == (("b",), ("d",))
    assert status(bert, "b") is Status.BUSY


async def test_g9_two_that_believe_to_lead_offer_no_more_than_there_are_places(
    cluster: Cluster,
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await helpers(cluster, "a", "b", "c", "d", "e")
    cluster["bert"].lead()
    for n in range(4):
        await blocked(anna, f"asker{n}", f"t{n}")
    made = [await asked((anna, bert)[n % 2], f"asker{n}", task_id=f"t{n}") for n in range(4)]
    await cluster.settled()
    for request in made:
        found = seen(bert, request.help_id)
        assert len(found.helpers) + len(found.asked) <= found.max_helpers
    assert sum(len(seen(anna, each.help_id).asked) for each in made) >= 5
