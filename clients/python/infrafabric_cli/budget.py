"""`infrafabric budget`: what accounts may spend, and how they stand."""

from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.money import format_usd
from infrafabric.v1.budget_pb2 import (
    BUDGET_STATE_EXHAUSTED,
    BUDGET_STATE_OPEN,
    BudgetPeriod,
    BudgetReport,
    BudgetState,
)
from infrafabric.v1.governor_budget_pb2 import SetBudgetRequest
from infrafabric_cli.halts import tell_halts
from infrafabric_cli.layout import Column, number
from infrafabric_cli.names import moment, short
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server, one_of, usd
from infrafabric_cli.output import as_json, print_json, print_rows
from infrafabric_cli.running import run

app = typer.Typer(no_args_is_help=True)

_COLUMNS = (
    *map(Column, ("account", "state")),
    *map(number, ("limit USD", "spent", "reserved", "available", "spent in all")),
    *map(Column, ("period", "renewed")),
)


def _limit(text: str) -> int:
    return -1 if text == "none" else usd(text)


OfSwarm = Annotated[str, typer.Option("--swarm", metavar="ID", help="The account of this swarm.")]
OfTask = Annotated[str, typer.Option("--task", metavar="ID", help="That of this task.")]
OfFabric = Annotated[bool, typer.Option("--fabric", help="That of the whole fabric.")]


@app.command()
def show(
    *,
    swarm: OfSwarm = "",
    task: OfTask = "",
    fabric: OfFabric = False,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Show one account; without one, the fabric's, then all swarms' with a limit or a cost."""
    if swarm or task or fabric:
        _one(swarm, task, fabric=fabric)

    async def command(client: Client) -> None:
        if swarm:
            found = [await client.budgets.of_swarm(swarm)]
        elif task:
            found = [await client.budgets.of_task(task)]
        elif fabric:
            found = [await client.budgets.of_fabric()]
        else:
            found = [report async for report in client.budgets.list()]
        _print(found, json_output=json_output)

    run(server, command)


@app.command("set")
def set_budget(
    limit: Annotated[
        int, typer.Argument(parser=_limit, metavar="USD", help="The most; `none` is unlimited.")
    ],
    *,
    swarm: OfSwarm = "",
    task: OfTask = "",
    fabric: OfFabric = False,
    period: Annotated[
        int | None,
        typer.Option(
            parser=one_of(BudgetPeriod.DESCRIPTOR),
            metavar="PERIOD",
            help="Renewed each hour, day, week or month.",
        ),
    ] = None,
    time_zone: Annotated[
        str, typer.Option(metavar="ZONE", help="In which periods begin, such as Europe/Vienna.")
    ] = "",
    soft_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            show_default="as the policy says",
            help="Share of the limit from which on it warns, 0 to 1.",
        ),
    ] = 0,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Set what an account may spend; what was spent stays. It closes no circuit breaker."""
    _one(swarm, task, fabric=fabric)
    terms = SetBudgetRequest(
        limit_micros=None if limit < 0 else limit,
        period=BudgetPeriod.ValueType(period or 0),
        time_zone=time_zone,
        soft_share=soft_share,
    )
    if swarm:
        terms.swarm_id = swarm
    elif task:
        terms.task_id = task
    else:
        terms.fabric = True

    async def command(client: Client) -> None:
        report = await client.budgets.limit(terms)
        _print([report], json_output=json_output)
        if swarm and not json_output:
            await tell_halts(client, swarm, exhausted=report.state == BUDGET_STATE_EXHAUSTED)

    run(server, command)


def _one(swarm: str, task: str, *, fabric: bool) -> None:
    if sum(map(bool, (swarm, task, fabric))) != 1:
        raise typer.BadParameter("name one account: --swarm ID, --task ID or --fabric")


def _print(reports: list[BudgetReport], *, json_output: bool) -> None:
    if json_output:
        print_json({"budgets": [as_json(report) for report in reports]})
    else:
        print_rows(_COLUMNS, map(_row, reports))


def _state(report: BudgetReport) -> str:
    # What is open to spending would be taken for an open breaker, which is the contrary.
    if report.state == BUDGET_STATE_OPEN:
        return "ok"
    return short(BudgetState.DESCRIPTOR, report.state)


def _row(report: BudgetReport) -> tuple[str, ...]:
    limited = report.HasField("limit_micros")
    kind = report.WhichOneof("account") or ""
    names = {"swarm_id": f"swarm {report.swarm_id}", "task_id": f"task {report.task_id}"}
    period = short(BudgetPeriod.DESCRIPTOR, report.period) if report.period else ""
    return (
        names.get(kind, "fabric"),
        _state(report),
        format_usd(report.limit_micros) if limited else "",
        format_usd(report.spent_micros),
        format_usd(report.reserved_micros),
        format_usd(report.available_micros) if limited else "",
        format_usd(report.total_micros),
        f"{period} ({report.time_zone})" if period else "",
        moment(report.renew_time),
    )
