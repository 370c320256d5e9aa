"""`infrafabric cost`: what was spent on what, and what of it was in vain."""

import csv
import io
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from infrafabric import Client
from infrafabric.money import format_usd
from infrafabric.v1.governor_budget_pb2 import CostDimension, CostRow, GetCostReportRequest
from infrafabric_cli.files import replace
from infrafabric_cli.layout import Column, number, text
from infrafabric_cli.names import moment, value_of
from infrafabric_cli.options import DEFAULT_SERVER, TIMES, Json, Server, Swarm, instant, usd
from infrafabric_cli.output import as_json, json_text, print_json, print_rows, print_text, say
from infrafabric_cli.running import must_exist, run

app = typer.Typer(no_args_is_help=True)

_DIMENSIONS = ("hour_time", "swarm_id", "operation", "model", "task_id")
_NUMBERS = (
    "cost_micros",
    "count",
    "failed_micros",
    "repeated_micros",
    "fenced_micros",
    "cheapest_micros",
)
_COLUMNS = (
    *map(Column, ("hour", "swarm", "operation")),
    *(text("model"), Column("task")),
    *map(number, ("USD", "costs", "failed", "repeated", "fenced", "cheapest")),
)
_NONE = "no costs; charge one: infrafabric cost track OPERATION USD"
# With these a cell of a table is a formula to programs that open CSV.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _dimensions(text: str) -> str:
    try:
        for name in text.split(","):
            value_of(CostDimension.DESCRIPTOR, name.strip())
    except ValueError as error:
        raise typer.BadParameter(f"each {error}, separated by commas") from error
    return text


By = Annotated[
    str,
    typer.Option(
        parser=_dimensions,
        metavar="WHAT,...",
        help="A row for each value of these, at most 3: swarm, operation, model, task, hour.",
    ),
]
After = Annotated[
    datetime | None,
    typer.Option(parser=instant, metavar="TIME", help=f"Only from that hour on; {TIMES}."),
]
Before = Annotated[
    datetime | None,
    typer.Option(parser=instant, metavar="TIME", help="Only until the end of that hour."),
]
OfSwarm = Annotated[str, typer.Option("--swarm", metavar="ID", help="Only this swarm.")]
OfTask = Annotated[str, typer.Option("--task", metavar="ID", help="Only this task.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV, with the names of the contract.")]


@app.command()
def report(
    *,
    by: By = "swarm,operation",
    after: After = None,
    before: Before = None,
    swarm: OfSwarm = "",
    task: OfTask = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
    csv_output: Csv = False,
) -> None:
    """Show what was spent, the dearest first, and their sum.

    Of it, what failed, was done again, or was taken away; and what completed work would have cost
    on the cheapest qualified swarm. To stay bounded, an hour keeps 500 rows and adds the others up
    under `(other)`.
    """
    question = _question(by, after, before, swarm, task)
    _show(server, question, as_document=json_output, as_csv=csv_output)


@app.command()
def history(
    *,
    after: After = None,
    before: Before = None,
    swarm: OfSwarm = "",
    task: OfTask = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
    csv_output: Csv = False,
) -> None:
    """Show what was spent in each hour, the latest last; after 30 days, in each day."""
    question = _question("hour", after, before, swarm, task)
    _show(server, question, as_document=json_output, as_csv=csv_output, by_hour=True)


def _show(
    server: str,
    question: GetCostReportRequest,
    *,
    as_document: bool,
    as_csv: bool,
    by_hour: bool = False,
) -> None:
    _one_form(as_document=as_document, as_csv=as_csv)

    async def command(client: Client) -> None:
        rows, total = await _read(client, question)
        if not rows:
            await must_exist(client, swarm=question.swarm_id, task=question.task_id)
        if by_hour:
            rows.sort(key=lambda row: row.hour_time.seconds)
        _print(rows, total, as_document=as_document, as_csv=as_csv)

    run(server, command)


def _target(text: str) -> Path:
    if not text.lower().endswith((".csv", ".json")):
        raise typer.BadParameter("must end in .csv or .json")
    return Path(text)


@app.command()
def export(
    file: Annotated[
        Path, typer.Argument(parser=_target, metavar="FILE", help="Ends in .csv or .json.")
    ],
    *,
    by: By = "hour,swarm,operation",
    after: After = None,
    before: Before = None,
    swarm: OfSwarm = "",
    task: OfTask = "",
    server: Server = DEFAULT_SERVER,
) -> None:
    """Write what was spent to a file, as `report` prints it with --csv or --json."""
    question = _question(by, after, before, swarm, task)

    async def command(client: Client) -> None:
        rows, total = await _read(client, question)
        as_csv = file.suffix.lower() == ".csv"
        replace(file, _csv(rows) if as_csv else json_text(_document(rows, total)) + "\n")
        say(f"{file}: {len(rows)} rows, {format_usd(total.cost_micros)} USD")

    run(server, command)


@app.command()
def track(
    operation: Annotated[str, typer.Argument(help="What for, for example llm.completion.")],
    cost: Annotated[int, typer.Argument(parser=usd, metavar="USD", help="How much.")],
    *,
    swarm: Swarm,
    task: Annotated[str, typer.Option("--task", metavar="ID", help="Task that it was for.")] = "",
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, metavar="N", help="Attempt of its claim.")
    ] = None,
    help_id: Annotated[
        str,
        typer.Option(
            "--help-id", metavar="ID", help="Request for help that it was for, without a task."
        ),
    ] = "",
    request_id: Annotated[
        str, typer.Option("--request-id", metavar="ID", help="A repeat with it charges nothing.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Charge a cost to a swarm: to the reservation of its claim, or of a task it helps with."""

    async def command(client: Client) -> None:
        tracked = await client.budgets.track(
            *(swarm, operation, cost),
            task_id=task,
            attempt=attempt or 0,
            help_id=help_id,
            request_id=request_id,
        )
        if json_output:
            print_json(as_json(tracked))
            return
        whose = "for the attempt" if task else "for all helpers" if help_id else ""
        left = f"; {format_usd(tracked.reservation_left_micros)} USD left {whose}"
        say(f"{swarm}: {format_usd(cost)} USD for {operation}{left if whose else ''}")
        if tracked.breaker_open:
            say(f"{swarm}: its circuit breaker is open, stop")

    run(server, command)


def _one_form(*, as_document: bool, as_csv: bool) -> None:
    if as_document and as_csv:
        raise typer.BadParameter("give either --json or --csv: a report has one form")


def _question(
    by: str, after: datetime | None, before: datetime | None, swarm: str, task: str
) -> GetCostReportRequest:
    names = [name.strip() for name in by.split(",")]
    question = GetCostReportRequest(
        group_by=[
            CostDimension.ValueType(value_of(CostDimension.DESCRIPTOR, name)) for name in names
        ],
        swarm_id=swarm,
        task_id=task,
        page_size=1_000,
    )
    if after is not None:
        question.after_time.FromDatetime(after)
    if before is not None:
        question.before_time.FromDatetime(before)
    return question


async def _read(client: Client, question: GetCostReportRequest) -> tuple[list[CostRow], CostRow]:
    rows: list[CostRow] = []
    total = CostRow()
    async for page in client.costs.report(question):
        rows += page.rows
        total = page.total
    return rows, total


def _print(rows: Sequence[CostRow], total: CostRow, *, as_document: bool, as_csv: bool) -> None:
    if as_document:
        print_json(_document(rows, total))
    elif as_csv:
        sys.stdout.write(_csv(rows))
    else:
        print_rows(_COLUMNS, map(_cells, rows), _NONE)
        print_text(f"total: {_sum(total)}")


def _document(rows: Sequence[CostRow], total: CostRow) -> dict[str, Any]:
    return {"rows": [as_json(row) for row in rows], "total": as_json(total)}


def _csv(rows: Sequence[CostRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow((*_DIMENSIONS, *_NUMBERS))
    for row in rows:
        hour = row.hour_time.ToJsonString() if row.HasField("hour_time") else ""
        names = (_harmless(getattr(row, name)) for name in _DIMENSIONS[1:])
        writer.writerow((hour, *names, *(getattr(row, name) for name in _NUMBERS)))
    return text.getvalue()


def _harmless(cell: str) -> str:
    # What a swarm says that its model is must not be run by whoever opens the file.
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _cells(row: CostRow) -> tuple[str, ...]:
    return (
        moment(row.hour_time),
        row.swarm_id,
        row.operation,
        row.model,
        row.task_id,
        format_usd(row.cost_micros),
        str(row.count),
        *(format_usd(getattr(row, name)) for name in _NUMBERS[2:]),
    )


def _sum(total: CostRow) -> str:
    wasted = total.failed_micros + total.repeated_micros + total.fenced_micros
    return (
        f"{format_usd(total.cost_micros)} USD in {total.count} costs,"
        f" {format_usd(wasted)} USD of it in vain;"
        f" completed work on the cheapest swarms: {format_usd(total.cheapest_micros)} USD"
    )
