"""Ganging up on a blocker over the wire: offers, acceptance, money, escalation, crashes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import grpc.aio
import pytest

from infrafabric import Client, errors
from infrafabric.v1.breaker_pb2 import BREAKER_CAUSE_OVERRUN
from infrafabric.v1.escalation_pb2 import (
    ESCALATION_KIND_HELP,
    ESCALATION_STATE_CLOSED,
    ESCALATION_STATE_OPEN,
    Escalation,
)
from infrafabric.v1.governor_help_pb2 import ListHelpRequestsRequest
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceStub
from infrafabric.v1.help_pb2 import (
    HELP_STATE_ENDED,
    HELP_STATE_OPEN,
    HELP_STATE_STAFFED,
    HELP_STATE_UNQUALIFIED,
    HELP_URGENCY_CRITICAL,
    HELP_URGENCY_HIGH,
    HelpRequest,
    HelpState,
    HelpUrgency,
)
from infrafabric.v1.task_pb2 import DISPATCH_MANUAL, Task
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from tests.harness.server import ServerProcess
from tests.integration.escalations import changed
from tests.integration.python_sessions import given, worker

DOLLAR = 1_000_000


@pytest.fixture
async def calls(shared_server: ServerProcess) -> AsyncIterator[Client]:
    """Return a client of the server that the tests share, each with ids of its own."""
    async with Client(shared_server.grpc) as it:
        yield it


async def until(
    requests: AsyncIterator[HelpRequest], holds: Callable[[HelpRequest], bool]
) -> HelpRequest:
    """Return the first request that a session is told of for which `holds`."""
    async with asyncio.timeout(20):
        async for request in requests:
            if holds(request):
                return request
    raise AssertionError("the session ended")


def _asks(swarm_id: str, request: HelpRequest) -> bool:
    return swarm_id in request.asked_swarm_ids


async def escalated(client: Client, holds: Callable[[Escalation], bool]) -> Escalation:
    """Return the first escalation of a request for help for which `holds`."""
    return await changed(client, lambda it: it.kind == ESCALATION_KIND_HELP and holds(it))


async def held_by_hand(client: Client, swarm_id: str, task_id: str, cost: int) -> int:
    """Have a swarm claim a task outside a session; return its attempt."""
    await client.swarms.register(swarm_id, ["a"])
    await client.tasks.create(Task(task_id=task_id, dispatch=DISPATCH_MANUAL, max_cost_micros=cost))
    return (await client.claims.claim(swarm_id, task_id)).task.attempt


async def test_g9_two_helpers_take_an_offer_and_spend_what_the_asker_reserved(
    shared_server: ServerProcess, calls: Client
) -> None:
    async with (
        worker(shared_server.grpc) as asker,
        worker(shared_server.grpc, "gpu", "cuda", swarm_id="h1") as first,
        worker(shared_server.grpc, "gpu", swarm_id="h2") as second,
    ):
        task = await given(calls, asker)
        for session in (first, second):
            await session.opened()
        request = await calls.help.request(
            "w1", "t1", task.attempt, "no driver fits", ["gpu", "cuda"], budget_micros=600_000
        )
        assert (request.state, request.max_helpers) == (HELP_STATE_OPEN, 3)
        for name, session in (("h1", first), ("h2", second)):
            offer = await until(session.help_wanted(), partial(_asks, name))
            assert (offer.help_id, offer.reason) == (request.help_id, "no driver fits")
            assert (await calls.help.accept(name, request.help_id)).accepted
        seen = await until(asker.help_wanted(), lambda it: len(it.helper_swarm_ids) == 2)
        assert seen.helper_swarm_ids == ["h1", "h2"]
        # By the stream and by a call.
        spent = await first.cost("llm.completion", 200_000, help_id=request.help_id)
        assert spent.reservation_left_micros == 400_000
        tracked = await calls.budgets.track("h2", "ocr", 100_000, help_id=request.help_id)
        assert (tracked.reservation_left_micros, tracked.breaker_open) == (300_000, False)
        assert (await calls.budgets.of_swarm("w1")).spent_micros == 300_000
        over = await calls.budgets.track("h2", "ocr", 300_001, help_id=request.help_id)
        assert over.breaker_open
        assert over.budget.spent_micros == 1
        breaker = (await calls.breakers.trip("h2", "again")).cause
        assert breaker == BREAKER_CAUSE_OVERRUN
        await calls.claims.resolve_blocker("w1", task_id="t1", resolution="installed one")
        for session in (asker, first, second):
            over_now = await until(session.help_wanted(), lambda it: it.state == HELP_STATE_ENDED)
            assert over_now.spent_micros == 600_001
        with pytest.raises(errors.HelpEnded):
            await first.cost("llm.completion", 1, help_id=request.help_id)
        assert (await calls.tasks.get("t1")).spent_micros == 600_000
        story = [
            entry.operation
            async for entry in calls.witness.query(QueryEntriesRequest(task_id="t1"))
            if entry.operation.startswith("help_")
        ]
        assert story == [
            "help_requested",
            "help_offered",
            "help_accepted",
            "help_accepted",
            "help_ended",
        ]


async def test_g9_no_more_than_three_of_fifty_help(calls: Client) -> None:
    attempt = await held_by_hand(calls, "fifty", "fifty", DOLLAR)
    request = await calls.help.request("fifty", "fifty", attempt, "stuck", ["rare"])
    async with asyncio.TaskGroup() as group:
        for n in range(50):
            group.create_task(calls.swarms.register(f"s{n}", ["a"]))
    answers = await asyncio.gather(
        *(calls.help.accept(f"s{n}", request.help_id) for n in range(50))
    )
    assert sum(each.accepted for each in answers) == 3
    details = {each.refusal_detail for each in answers if not each.accepted}
    assert details == {"3 help already, at most 3 may"}
    (known,) = [each async for each in calls.help.list(HELP_STATE_STAFFED)]
    won = {f"s{n}" for n, each in enumerate(answers) if each.accepted}
    assert {*known.helper_swarm_ids} == won


async def test_g9_help_that_nobody_fits_is_escalated_until_one_that_fits_is_idle(
    shared_server: ServerProcess, calls: Client
) -> None:
    attempt = await held_by_hand(calls, "rarely", "rare", DOLLAR)
    request = await calls.help.request("rarely", "rare", attempt, "stuck", ["rare"])
    wanted = f"help:{request.help_id}"
    opened = await escalated(calls, lambda it: it.escalation_id == wanted)
    assert (opened.state, opened.task_id) == (ESCALATION_STATE_OPEN, "rare")
    assert "nobody idle covered rare: stuck" in opened.summary
    listed = [each.help_id async for each in calls.help.list(HELP_STATE_UNQUALIFIED)]
    assert request.help_id in listed
    async with worker(shared_server.grpc, "rare", swarm_id="late") as late:
        offer = await until(late.help_wanted(), partial(_asks, "late"))
        assert offer.help_id == request.help_id
        await escalated(
            calls,
            lambda it: it.escalation_id == wanted and it.state == ESCALATION_STATE_CLOSED,
        )
    # A person is told of a critical one though somebody helps.
    await calls.help.request(
        "rarely", "rare", attempt, "the plant burns", ["rare"], urgency=HELP_URGENCY_CRITICAL
    )
    await escalated(calls, lambda it: it.escalation_id == wanted and "(critical)" in it.summary)


@pytest.mark.parametrize("server", ["30"], indirect=True)
async def test_g9_a_crash_between_request_and_offer_loses_nothing(
    server: ServerProcess, client: Client
) -> None:
    attempt = await held_by_hand(client, "asker", "t", DOLLAR)
    async with worker(server.grpc, "rare", swarm_id="h") as helper:
        await helper.opened()
        request = await client.help.request("asker", "t", attempt, "stuck", ["rare"])
        await server.kill()
        await server.start()
        async with Client(server.grpc) as again:
            await until(helper.help_wanted(), partial(_asks, "h"))
            assert (await again.help.accept("h", request.help_id)).accepted
            urgent = HELP_URGENCY_HIGH
            await again.help.request("asker", "t", attempt, "still", ["rare"], urgency=urgent)
            told = await until(helper.help_wanted(), lambda it: it.urgency == urgent)
            assert (told.help_id, [*told.helper_swarm_ids]) == (request.help_id, ["h"])
            await again.claims.release("asker", "t", attempt)
            await until(helper.help_wanted(), lambda it: it.state == HELP_STATE_ENDED)


async def test_g9_each_refusal_names_its_field(calls: Client) -> None:
    attempt = await held_by_hand(calls, "strict", "strict", 300)
    ask, track = calls.help.request, calls.budgets.track
    for call, field in (
        (ask("strict", "strict", attempt, "", ["x"]), "reason"),
        (ask("strict", "strict", attempt, "x" * 4097, ["x"]), "reason"),
        (ask("strict", "strict", attempt, "r", []), "needs"),
        (ask("strict", "strict", attempt, "r", [f"c{n}" for n in range(65)]), "needs"),
        (ask("strict", "strict", attempt, "r", ["no spaces"]), "needs"),
        (ask("strict", "strict", 0, "r", ["x"]), "attempt"),
        (ask("a b", "t", attempt, "r", ["x"]), "swarm_id"),
        (ask("strict", "", attempt, "r", ["x"]), "task_id"),
        (ask("strict", "strict", attempt, "r", ["x"], budget_micros=-1), "budget_micros"),
        (ask("strict", "strict", attempt, "r", ["x"], budget_micros=301), "budget_micros"),
        (ask("strict", "strict", attempt, "r", ["x"], request_id="i" * 129), "request_id"),
        (ask("strict", "strict", attempt, "r", ["x"], urgency=HelpUrgency.ValueType(9)), "urgency"),
        (calls.help.accept("strict", ""), "help_id"),
        (track("strict", "op", 1, task_id="strict", attempt=1, help_id="h"), "help_id"),
        (track("strict", "op", 1, attempt=1, help_id="h"), "attempt"),
        (track("strict", "op", 1, help_id="h h"), "help_id"),
    ):
        with pytest.raises(errors.InvalidField) as refused:
            await call
        assert [each.field for each in refused.value.fields] == [field]
    with pytest.raises(errors.InvalidField, match="state"):
        _ = [each async for each in calls.help.list(HelpState.ValueType(9))]
    with pytest.raises(errors.HelpNotFound):
        await calls.help.accept("strict", "none")
    request = await calls.help.request("strict", "strict", attempt, "r", ["x"])
    with pytest.raises(errors.InvalidField, match="must be another swarm than strict"):
        await calls.help.accept("strict", request.help_id)
    with pytest.raises(errors.NotAHelper):
        await calls.budgets.track("strict", "op", 1, help_id=request.help_id)


async def test_g9_a_list_goes_on_where_its_page_ended(
    shared_server: ServerProcess, calls: Client
) -> None:
    made = []
    for n in range(5):
        attempt = await held_by_hand(calls, f"page{n}", f"page{n}", DOLLAR)
        made.append((await calls.help.request(f"page{n}", f"page{n}", attempt, "r", ["x"])).help_id)
    await calls.claims.resolve_blocker("page2", task_id="page2")
    found: list[str] = []
    request = ListHelpRequestsRequest(page_size=2)
    async with grpc.aio.insecure_channel(shared_server.grpc) as channel:
        stub = GovernorServiceStub(channel)
        while not found or request.page_token:
            page = await stub.ListHelpRequests(request)
            assert len(page.help) <= request.page_size
            found += (each.help_id for each in page.help)
            request.page_token = page.next_page_token
    assert [each for each in found if each in made] == made
    assert found == [each.help_id async for each in calls.help.list()]
