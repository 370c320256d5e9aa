"""G3, G4: money from a limit to its accounts, over gRPC, a session, HTTP and the command line."""

import json
from collections.abc import AsyncIterator

import pytest

from infrafabric import Client, Session, errors
from infrafabric.v1.budget_pb2 import (
    BUDGET_PERIOD_DAY,
    BUDGET_STATE_EXHAUSTED,
    BUDGET_STATE_OPEN,
    BUDGET_STATE_UNLIMITED,
    BUDGET_STATE_WARNING,
    BudgetReport,
)
from infrafabric.v1.governor_budget_pb2 import SetBudgetRequest
from infrafabric.v1.notify_service_pb2 import NotifyRequest
from infrafabric.v1.status_pb2 import STATUS_BUSY
from infrafabric.v1.task_pb2 import CLAIM_REFUSAL_BUDGET, DISPATCH_MANUAL, Task
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from infrafabric_cli.exit_codes import ExitCode
from tests.harness.server import ServerProcess
from tests.integration.commands import Cli, document

DOLLAR = 1_000_000


@pytest.fixture
async def shared(shared_server: ServerProcess) -> AsyncIterator[Client]:
    """Return a client of the server that all but the fabric's own limit can share."""
    async with Client(shared_server.grpc) as it:
        yield it


async def claimed(client: Client, swarm_id: str, task_id: str, dollars: int) -> int:
    """Create and claim a task that may cost so much; return the attempt."""
    task = Task(task_id=task_id, dispatch=DISPATCH_MANUAL, max_cost_micros=dollars * DOLLAR)
    await client.tasks.create(task)
    won = await client.claims.claim(swarm_id, task_id)
    assert won.claimed, won.refusal_detail
    return won.task.attempt


def numbers(report: BudgetReport) -> tuple[int, int, int]:
    """Return spent, reserved and available, in micro-US-dollars."""
    return report.spent_micros, report.reserved_micros, report.available_micros


async def test_g3_costs_draw_on_the_reservation_and_completion_charges_the_rest(
    shared: Client,
) -> None:
    await shared.swarms.register("s", [])
    limit = SetBudgetRequest(swarm_id="s", limit_micros=10 * DOLLAR, soft_share=0.5)
    assert (await shared.budgets.limit(limit)).state == BUDGET_STATE_OPEN
    attempt = await claimed(shared, "s", "t", 2)
    assert numbers(await shared.budgets.of_swarm("s")) == (0, 2 * DOLLAR, 8 * DOLLAR)
    for _ in range(2):  # A repeat by its id charges nothing.
        answer = await shared.budgets.track(
            "s", "llm", DOLLAR, task_id="t", attempt=attempt, request_id="r1"
        )
        assert answer.reservation_left_micros == DOLLAR
        assert numbers(answer.budget) == (DOLLAR, DOLLAR, 8 * DOLLAR)
    task = await shared.tasks.get("t")
    assert (task.reserved_micros, task.spent_micros) == (2 * DOLLAR, DOLLAR)
    await shared.claims.complete("s", "t", attempt, cost_micros=1_500_000)
    done = await shared.claims.complete(
        "s", "t", attempt, cost_micros=1_500_000
    )  # A repeat charges nothing.
    assert (done.cost_micros, done.spent_micros, done.reserved_micros) == (1_500_000, 1_500_000, 0)
    assert numbers(await shared.budgets.of_swarm("s")) == (1_500_000, 0, 8_500_000)
    assert (await shared.budgets.of_task("t")).spent_micros == 1_500_000
    with pytest.raises(errors.TaskEnded):
        await shared.budgets.track("s", "llm", 1, task_id="t", attempt=attempt)
    with pytest.raises(errors.RequestIdReused):
        await shared.budgets.track("s", "llm", 2, request_id="r1")


async def test_g4_what_is_not_there_is_neither_claimed_nor_hidden(shared: Client) -> None:
    await shared.swarms.register("u", [])
    await shared.budgets.limit(SetBudgetRequest(swarm_id="u", limit_micros=3 * DOLLAR))
    await claimed(shared, "u", "u1", 2)
    second = Task(task_id="u2", dispatch=DISPATCH_MANUAL, max_cost_micros=2 * DOLLAR)
    await shared.tasks.create(second)
    refused = await shared.claims.claim("u", "u2")
    assert refused.refusal == CLAIM_REFUSAL_BUDGET
    assert "1.00 USD available" in refused.refusal_detail
    report = (await shared.budgets.track("u", "rent", 2_500_000)).budget
    assert numbers(report) == (2_500_000, 2 * DOLLAR, -1_500_000)
    assert report.state == BUDGET_STATE_WARNING
    report = (await shared.budgets.track("u", "rent", 500_000)).budget
    assert report.state == BUDGET_STATE_EXHAUSTED


async def test_g4_the_fabric_and_tasks_have_limits_of_their_own(client: Client) -> None:
    await client.swarms.register("s", [])
    fabric = SetBudgetRequest(
        fabric=True, limit_micros=9 * DOLLAR, period=BUDGET_PERIOD_DAY, time_zone="Europe/Vienna"
    )
    report = await client.budgets.limit(fabric)
    assert report.renew_time.seconds > report.period_start_time.seconds
    await client.tasks.create(
        Task(task_id="t", dispatch=DISPATCH_MANUAL, max_cost_micros=2 * DOLLAR)
    )
    report = await client.budgets.limit(SetBudgetRequest(task_id="t", limit_micros=DOLLAR))
    assert (report.task_id, report.available_micros) == ("t", DOLLAR)
    refused = await client.claims.claim("s", "t")
    assert refused.refusal == CLAIM_REFUSAL_BUDGET
    assert "task/t" in refused.refusal_detail
    await client.budgets.limit(SetBudgetRequest(task_id="t"))
    assert (await client.claims.claim("s", "t")).claimed
    await client.budgets.track("s", "rent", 1)
    names = [each.WhichOneof("account") async for each in client.budgets.list()]
    assert names == ["fabric", "swarm_id"]
    assert (await client.budgets.of_fabric()).available_micros == 7 * DOLLAR - 1
    assert (await client.budgets.of_swarm("s")).state == BUDGET_STATE_UNLIMITED


async def test_g3_a_session_reports_costs_of_its_tasks_and_its_own(
    shared_server: ServerProcess, shared: Client
) -> None:
    async with Session(shared_server.grpc, swarm_id="w", capabilities=["w-a"]) as session:
        await session.opened()
        await shared.budgets.limit(SetBudgetRequest(swarm_id="w", limit_micros=5 * DOLLAR))
        await session.create(
            [Task(task_id="w-t", required_capabilities=["w-a"], max_cost_micros=2 * DOLLAR)]
        )
        task = await anext(session)
        reply = await task.cost("llm", 500_000)
        assert (reply.available_micros, reply.reservation_left_micros) == (3 * DOLLAR, 1_500_000)
        reply = await session.cost("rent", DOLLAR)
        assert (reply.available_micros, reply.reservation_left_micros) == (2 * DOLLAR, 0)
        with pytest.raises(errors.InvalidField):
            await task.cost("llm", 0)
        # Its own frames charge it: what a status says it spent is shown, and charged no more.
        await session.status(STATUS_BUSY, cost_spent_micros=4 * DOLLAR)
        await task.complete(cost_micros=DOLLAR)
    assert numbers(await shared.budgets.of_swarm("w")) == (2 * DOLLAR, 0, 3 * DOLLAR)


async def test_g3_an_old_client_is_charged_the_rise_of_its_total(shared: Client) -> None:
    for total in (300, 300, 500):
        report = NotifyRequest(swarm_id="old", status=STATUS_BUSY, cost_spent_micros=total)
        await shared.statuses.notify(report)
    assert (await shared.budgets.of_swarm("old")).total_micros == 500
    found = [entry async for entry in shared.witness.query(QueryEntriesRequest(swarm_id="old"))]
    charged = [entry for entry in found if entry.operation == "cost_tracked"]
    assert [entry.details["cost_micros"] for entry in charged] == [300, 200]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (SetBudgetRequest(limit_micros=1), "swarm_id"),
        (SetBudgetRequest(fabric=False, limit_micros=1), "fabric"),
        (SetBudgetRequest(fabric=True, limit_micros=-1), "limit_micros"),
        (SetBudgetRequest(fabric=True, time_zone="Atlantis"), "time_zone"),
        (SetBudgetRequest(fabric=True, soft_share=1.5), "soft_share"),
        (SetBudgetRequest(fabric=True, soft_share=float("nan")), "soft_share"),
        (SetBudgetRequest(task_id="t", period=BUDGET_PERIOD_DAY), "period"),
    ],
)
async def test_a_limit_that_makes_no_sense_names_its_field(
    shared: Client, request_: SetBudgetRequest, field: str
) -> None:
    with pytest.raises(errors.InvalidField) as refused:
        await shared.budgets.limit(request_)
    assert [each.field for each in refused.value.fields] == [field]


def test_g5_budgets_are_set_shown_and_charged_by_command(cli: Cli) -> None:
    cli("swarm", "register", "cli-b")
    cli("budget", "set", "2.50", "--swarm", "cli-b", "--period", "day")
    said = cli("cost", "track", "llm", "0.75", "--swarm", "cli-b", "--request-id", "cli-b-1").stdout
    assert said == "cli-b: 0.75 USD for llm\n"
    (report,) = document(cli("budget", "show", "--swarm", "cli-b", "--json"))["budgets"]
    assert (report["limit_micros"], report["available_micros"]) == (2_500_000, 1_750_000)
    lines = [line.split("\t") for line in cli("budget", "show").stdout.splitlines()]
    (line,) = [line for line in lines if line[0] == "swarm cli-b"]
    assert line[1:7] == ["ok", "2.50", "0.75", "0.00", "1.75", "0.75"]
    assert line[7] == "day (UTC)"
    cli("budget", "set", "none", "--swarm", "cli-b")
    shown = json.loads(cli("budget", "show", "--swarm", "cli-b", "--json").stdout)
    assert shown["budgets"][0]["state"] == "BUDGET_STATE_UNLIMITED"
    cli("budget", "set", "1", code=ExitCode.USAGE)
    cli("budget", "show", "--swarm", "nobody", code=ExitCode.REFUSED)
