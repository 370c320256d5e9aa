"""`infrafabric reputation` and `infrafabric slo`: what swarms are worth, and what they keep."""

from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from infrafabric import Client
from infrafabric.v1.chassis_slo_pb2 import SloKind, SloObjective, SloReport
from infrafabric_cli.agents import NO_SWARMS
from infrafabric_cli.layout import Column, number
from infrafabric_cli.names import moment, short, span
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server
from infrafabric_cli.output import as_json, print_json, print_rows, say
from infrafabric_cli.running import run

app = typer.Typer(no_args_is_help=True)

Swarm = Annotated[str, typer.Argument(metavar="SWARM", help="Id of the swarm.")]

_HISTORY = (Column("time"), number("reputation"), number("attempts"))
_OBJECTIVES = (
    *map(Column, ("swarm", "objective")),
    *map(number, ("target", "attained", "budget left", "burn rate", "bad", "of")),
)


@app.command()
def show(swarm: Swarm, *, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """Show what a swarm is worth by what it has done, and what that stands on."""

    async def command(client: Client) -> None:
        found = (await client.standings.reputation(swarm)).reputation
        if json_output:
            print_json(as_json(found))
            return
        say(f"{found.swarm_id}: {found.value:.3f}")
        say(f"{found.good_attempts:.2f} good of {found.seen_attempts:.2f} attempts, by their age")
        say(
            f"a swarm without a record: {found.prior:.3f}, which counts as"
            f" {found.prior_weight:g} attempts; half-life {_span(found.half_life)}"
        )

    run(server, command)


@app.command()
def history(swarm: Swarm, *, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """Show what a swarm was worth, oldest first."""

    async def command(client: Client) -> None:
        found = await client.standings.reputation(swarm)
        if json_output:
            print_json({"history": [as_json(each) for each in found.history]})
            return
        print_rows(
            _HISTORY,
            (
                (moment(each.time), f"{each.value:.3f}", f"{each.seen_attempts:.2f}")
                for each in found.history
            ),
            f"no history of {swarm}: none of its attempts has counted yet",
        )

    run(server, command)


def slo(
    swarm: Annotated[
        str, typer.Argument(metavar="SWARM", help="Id of the swarm; all, without one.")
    ] = "",
    *,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Show how swarms keep their service levels, and what is left of their error budgets."""

    async def command(client: Client) -> None:
        reports = [each async for each in client.standings.slo_reports(swarm)]
        if json_output:
            print_json({"reports": [as_json(each) for each in reports]})
            return
        rows = [_row(report, each) for report in reports for each in report.objectives]
        print_rows(_OBJECTIVES, rows, NO_SWARMS)
        for report in reports:
            if report.completed_attempts:
                median, p99 = _span(report.median_latency), _span(report.p99_latency)
                say(f"{report.swarm_id}: half of its attempts took {median}, 99 % at most {p99}")

    run(server, command)


def _row(report: SloReport, objective: SloObjective) -> tuple[str, ...]:
    seconds = objective.kind == SloKind.SLO_KIND_AVAILABILITY
    limit = f" {_span(objective.latency_limit)}" if objective.HasField("latency_limit") else ""
    bad, total = (
        span(each) if seconds else f"{each:.0f}" for each in (objective.bad, objective.total)
    )
    return (
        report.swarm_id,
        short(SloKind.DESCRIPTOR, objective.kind) + limit,
        f"{objective.target:.1%}",
        f"{objective.attained:.1%}",
        f"{objective.error_budget_left:.0%}",
        f"{objective.burn_rate:.2f}",
        bad,
        total,
    )


def _span(duration: Duration) -> str:
    seconds = duration.seconds + duration.nanos / 10**9
    return span(seconds) if seconds >= 1 else f"{seconds * 1000:.0f} ms"
