"""`infrafabric match`: which swarm is right for a set of capabilities, and why."""

import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.money import format_usd
from infrafabric.v1.governor_service_pb2 import FindQualifiedSwarmResponse
from infrafabric.v1.match_pb2 import ExclusionCount, ExclusionRule, MatchMetric
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.layout import Column, number, text
from infrafabric_cli.names import short
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server, one_of, usd
from infrafabric_cli.output import as_json, print_json, print_rows, say
from infrafabric_cli.running import run

_CANDIDATES = (
    *(number("rank"), Column("swarm")),
    *map(number, ("match", "reputation", "score", "USD/hour")),
)
_CAPABILITY = ExclusionRule.EXCLUSION_RULE_CAPABILITY
_EXCLUDED = (Column("left out"), Column("rule"), text("why"))


def match(
    capabilities: Annotated[
        list[str],
        typer.Argument(metavar="CAPABILITY...", help="What the swarm should be able to do."),
    ],
    *,
    max_cost_per_hour: Annotated[
        int | None,
        typer.Option(
            "--max-cost-per-hour",
            "--max-cost",
            parser=usd,
            metavar="USD",
            help="Most that an hour may cost.",
        ),
    ] = None,
    task_cost: Annotated[
        int | None,
        typer.Option(
            "--task-cost",
            parser=usd,
            metavar="USD",
            help="What the task may cost in total; the policy says what, if it is not given.",
        ),
    ] = None,
    metric: Annotated[
        int | None,
        typer.Option(
            parser=one_of(MatchMetric.DESCRIPTOR),
            metavar="HOW",
            help="jaccard or coverage; as the policy says, if it is not given.",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="List the candidates, and why others that come near were left out."
        ),
    ] = False,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Find the best swarm for some capabilities; exit code 1 when none qualifies."""

    async def command(client: Client) -> None:
        found = await client.swarms.find_qualified(
            capabilities,
            max_cost_per_hour_micros=max_cost_per_hour,
            max_task_cost_micros=task_cost,
            metric=MatchMetric.ValueType(metric or MatchMetric.MATCH_METRIC_UNSPECIFIED),
            explain=explain,
            page_size=1_000,
        )
        if json_output:
            print_json(as_json(found))
        else:
            _show(found, explained=explain)
        if not found.swarm_id:
            raise typer.Exit(ExitCode.REFUSED)

    run(server, command)


def _show(found: FindQualifiedSwarmResponse, *, explained: bool) -> None:
    if found.swarm_id:
        say(f"{found.swarm_id} (match {found.match:.0%}, score {found.score:.4g})")
    else:
        say("no swarm qualifies")
    if not explained:
        return
    if found.candidates:
        _part()
        print_rows(
            _CANDIDATES,
            (
                (
                    str(each.rank),
                    each.swarm_id,
                    f"{each.match:.0%}",
                    f"{each.reputation:.3f}",
                    f"{each.score:.4g}",
                    format_usd(each.cost_per_hour_micros),
                )
                for each in found.candidates
            ),
        )
    if found.excluded:
        _part()
        _show_excluded(found)


def _show_excluded(found: FindQualifiedSwarmResponse) -> None:
    # What has nothing of what is required is most of a large fabric, and explains nothing.
    near = [each for each in found.excluded if each.match or each.rule != _CAPABILITY]
    if near:
        rules = ExclusionRule.DESCRIPTOR
        print_rows(
            _EXCLUDED, ((each.swarm_id, short(rules, each.rule), each.detail) for each in near)
        )
    unlisted = sum(each.count for each in found.exclusion_counts) - len(near)
    say(f"left out in all: {by_rule(found.exclusion_counts)}")
    if unlisted:
        # One page is read, of the smallest ids.
        later = f" or come after {found.excluded[-1].swarm_id}" if found.next_page_token else ""
        say(f"{unlisted} of them are not listed: they share nothing{later}")


def _part() -> None:
    """Begin a part of what is shown to people."""
    if sys.stdout.isatty():
        say("")


def by_rule(counts: Iterable[ExclusionCount]) -> str:
    """Return how many swarms each rule left out, such as `capability 3, budget 1`."""
    rules = ExclusionRule.DESCRIPTOR
    return ", ".join(f"{short(rules, each.rule)} {each.count}" for each in counts)
