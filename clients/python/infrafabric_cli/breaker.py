"""`infrafabric breaker`: what keeps work from swarms, and who allows it again."""

from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.v1.breaker_pb2 import (
    BREAKER_STATE_OPEN,
    BREAKER_STATE_UNSPECIFIED,
    BreakerCause,
    BreakerState,
    CircuitBreaker,
    CredentialPool,
)
from infrafabric.v1.governor_breaker_pb2 import ListCircuitBreakersResponse
from infrafabric_cli.halts import read_halts
from infrafabric_cli.layout import Column, number, text
from infrafabric_cli.names import moment, short
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server, usd
from infrafabric_cli.output import as_json, print_json, print_rows, say
from infrafabric_cli.running import run

app = typer.Typer(no_args_is_help=True)

Scope = Annotated[
    str | None, typer.Argument(metavar="SWARM", help="Id of the swarm; or give --fabric.")
]
Fabric = Annotated[bool, typer.Option("--fabric", help="The hold of the whole fabric.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")]

_COLUMNS = (
    *map(Column, ("breaker", "state", "cause", "opened", "claims end")),
    *(number("failures"), text("reset by"), text("detail")),
)
_NONE = "no breaker is open or counts failures, and no pool is paused"
_NONE_OPEN = "no breaker is open; without --open, all are listed"


@app.command("list")
def list_breakers(
    *,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """List the breakers that ever opened or count failures, and the pools that are paused."""

    async def command(client: Client) -> None:
        state = BREAKER_STATE_OPEN if open_only else BREAKER_STATE_UNSPECIFIED
        found = ListCircuitBreakersResponse()
        async for page in client.breakers.pages(state):
            found.breakers.extend(page.breakers)
            found.pools.extend(page.pools)
        if json_output:
            print_json(as_json(found))
            return
        rows = [_row(each) for each in found.breakers]
        rows += map(_pool_row, found.pools)
        print_rows(_COLUMNS, rows, _NONE_OPEN if open_only else _NONE)

    run(server, command)


@app.command()
def trip(
    swarm: Scope = None,
    *,
    reason: Reason,
    fabric: Fabric = False,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Open a breaker: no new work, and what runs is halted."""
    scope = _scope(swarm, fabric=fabric)

    async def command(client: Client) -> None:
        breaker = await client.breakers.trip(scope, reason)
        _show(breaker, breaker.detail, json_output=json_output)

    run(server, command)


@app.command()
def reset(
    swarm: Scope = None,
    *,
    approver: Annotated[
        str, typer.Option("--approver", metavar="NAME", help="Who takes responsibility.")
    ],
    reason: Reason,
    new_budget: Annotated[
        int | None,
        typer.Option("--new-budget", parser=usd, metavar="USD", help="New limit of the swarm."),
    ] = None,
    fabric: Fabric = False,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Close a breaker in the name of a person; nothing else does."""
    scope = _scope(swarm, fabric=fabric)

    async def command(client: Client) -> None:
        # The answer is the same for one that was not open.
        before = (await read_halts(client)).breakers
        breaker = await client.breakers.reset(
            scope, approver=approver, reason=reason, new_budget_micros=new_budget
        )
        about = ""
        if breaker.swarm_id not in before:
            about = "it was not open" + ("; its counts begin anew" if scope else "")
        _show(breaker, about, json_output=json_output)

    run(server, command)


def _scope(swarm: str | None, *, fabric: bool) -> str | None:
    if (swarm is not None) is fabric:
        raise typer.BadParameter("give either a swarm or --fabric")
    return swarm


def _show(breaker: CircuitBreaker, about: str, *, json_output: bool) -> None:
    if json_output:
        print_json(as_json(breaker))
        return
    whose = breaker.swarm_id or "the fabric"
    state = short(BreakerState.DESCRIPTOR, breaker.state)
    say(f"{state}: {whose}{f' ({about})' if about else ''}")


def _row(breaker: CircuitBreaker) -> tuple[str, ...]:
    return (
        breaker.swarm_id or "fabric",
        short(BreakerState.DESCRIPTOR, breaker.state),
        short(BreakerCause.DESCRIPTOR, breaker.cause) if breaker.cause else "",
        moment(breaker.open_time),
        moment(breaker.fence_time),
        str(breaker.consecutive_failures or ""),
        breaker.approver,
        breaker.detail,
    )


def _pool_row(pool: CredentialPool) -> tuple[str, ...]:
    until = moment(pool.paused_until_time)
    return (f"pool {pool.pool_id}", "paused", "", "", "", "", "", f"until {until}: {pool.reason}")
