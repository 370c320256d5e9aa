"""Costs over the wire: what was spent on what, as a table, as CSV and as JSON."""

import asyncio
import csv
import io
import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infrafabric import Client, errors
from infrafabric.v1.governor_budget_pb2 import CostDimension, GetCostReportRequest
from infrafabric.v1.task_pb2 import DISPATCH_MANUAL
from infrafabric_cli.exit_codes import ExitCode
from tests.harness.documents import ROOT, blocks, dead_links, steps
from tests.harness.server import ServerProcess
from tests.integration.commands import Cli, commands, document
from tests.integration.python_sessions import create

GUIDE = (ROOT / "docs" / "costs.md").read_text()


def spend(cli: Cli, name: str) -> None:
    """Have a swarm spend 1.25 US dollars on a task and 0.5 on nothing."""
    cli("swarm", "register", name, "--cost-per-hour", "2", "--model", "=large")
    cli("tasks", "create", "x", "--id", f"{name}-t", "--dispatch", "manual")
    cli("tasks", "claim", f"{name}-t", "--swarm", name)
    mine = ("--swarm", name, "--task", f"{name}-t", "--attempt", "1")
    cli("cost", "track", "llm.completion", "0.25", *mine)
    cli("tasks", "complete", f"{name}-t", "--swarm", name, "--attempt", "1", "--cost", "1.25")
    cli("cost", "track", "tool", "0.5", "--swarm", name)


def test_g5_w4_a_report_as_table_csv_and_json(cli: Cli) -> None:
    spend(cli, "one")
    table = cli("cost", "report", "--swarm", "one", "--by", "operation,task").stdout
    assert [line.split("\t")[2:6] for line in table.splitlines()[1:-1]] == [
        ["task", "", "one-t", "1.00"],
        ["tool", "", "", "0.50"],
        ["llm.completion", "", "one-t", "0.25"],
    ]
    assert table.splitlines()[-1].startswith("total: 1.75 USD in 3 costs, 0.00 USD of it in vain")
    rows = list(
        csv.DictReader(
            io.StringIO(cli("cost", "report", "--swarm", "one", "--by", "model", "--csv").stdout)
        )
    )
    assert [(row["model"], row["cost_micros"], row["count"]) for row in rows] == [
        ("'=large", "1750000", "3")
    ]
    report = document(cli("cost", "report", "--swarm", "one", "--by", "swarm,hour", "--json"))
    assert sum(row["cost_micros"] for row in report["rows"]) == 1_750_000
    assert report["total"]["cost_micros"] == 1_750_000
    assert report["total"]["cheapest_micros"] == 1_250_000


def test_g5_history_and_export(cli: Cli, tmp_path: Path) -> None:
    spend(cli, "two")
    history = document(cli("cost", "history", "--task", "two-t", "--json"))
    hours = [row["hour_time"] for row in history["rows"]]
    assert hours == sorted(hours)
    assert all(hour.endswith(":00:00Z") for hour in hours)
    assert history["total"]["cost_micros"] == 1_250_000
    for name in ("costs.csv", "costs.json"):
        file = tmp_path / name
        told = cli("cost", "export", str(file), "--swarm", "two", "--by", "task").stdout
        assert told == f"{file}: 2 rows, 1.75 USD\n"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "costs.csv").read_text())))
    exported = json.loads((tmp_path / "costs.json").read_text())
    assert [int(row["cost_micros"]) for row in rows] == [1_250_000, 500_000]
    assert [row["task_id"] for row in exported["rows"]] == ["two-t", ""]
    assert cli("cost", "export", "costs.txt", code=ExitCode.USAGE).stdout == ""


def test_g5_what_lies_outside_of_the_time_is_left_out(cli: Cli) -> None:
    spend(cli, "three")
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for option in ("--after", "--before"):
        total = document(cli("cost", "report", "--swarm", "three", option, later, "--json"))
        assert total["total"]["cost_micros"] == (0 if option == "--after" else 1_750_000)


async def test_w4_what_was_wasted_and_what_survives_a_kill(
    server: ServerProcess, client: Client
) -> None:
    await client.swarms.register("w", ["a"])
    for task_id, end in (("t1", "fail"), ("t2", "release"), ("t3", "cancel")):
        await create(client, task_id, dispatch=DISPATCH_MANUAL)
        attempt = (await client.claims.claim("w", task_id)).task.attempt
        micros = 10 ** int(task_id[1])
        await client.budgets.track("w", "llm", micros, task_id=task_id, attempt=attempt)
        if end == "fail":
            await client.claims.fail("w", task_id, attempt, "no")
        elif end == "release":
            await client.claims.release("w", task_id, attempt, reason="later")
        else:
            await client.tasks.cancel(task_id)
    await server.kill()
    await server.start()
    question = GetCostReportRequest(group_by=[CostDimension.COST_DIMENSION_TASK], page_size=1)
    async with Client(server.grpc) as again:
        pages = [page async for page in again.costs.report(question)]
        assert [page.rows[0].task_id for page in pages] == ["t3", "t2", "t1"]
        total = pages[0].total
        assert (total.cost_micros, total.count) == (1110, 3)
        assert (total.failed_micros, total.repeated_micros, total.fenced_micros) == (10, 100, 1000)
        budget = await again.budgets.of_swarm("w")
        assert (budget.total_micros, budget.reserved_micros) == (1110, 0)


async def test_g5_a_report_by_what_there_is_not_is_refused(shared_server: ServerProcess) -> None:
    async with Client(shared_server.grpc) as client:
        for group_by in ([0], [1, 1], [1, 2, 3, 4]):
            dimensions = [CostDimension.ValueType(each) for each in group_by]
            with pytest.raises(errors.InvalidField, match="group_by"):
                await anext(client.costs.report(GetCostReportRequest(group_by=dimensions)))


@pytest.mark.embedded
def test_w4_the_commands_of_the_guide_print_what_it_says(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    with asyncio.Runner() as runner:
        runner.run(server.start())
        try:
            run = commands(server)
            for command, expected in steps(blocks(GUIDE, "console")[0]):
                output = run(*shlex.split(command)[1:]).stdout.splitlines()
                assert [line for line in expected if line and line not in output] == []
        finally:
            runner.run(server.kill())


@pytest.mark.embedded
def test_w4_every_link_of_the_guide_leads_somewhere() -> None:
    assert dead_links(GUIDE, ROOT / "docs") == []
