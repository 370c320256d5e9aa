"""`infrafabric swarm`: who can work for the fabric."""

from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.money import format_usd
from infrafabric.v1.swarm_pb2 import Swarm
from infrafabric_cli.agents import NO_SWARMS
from infrafabric_cli.layout import Column, number, text
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server, usd
from infrafabric_cli.output import as_json, print_json, print_rows, say
from infrafabric_cli.running import run

app = typer.Typer(no_args_is_help=True)

SwarmId = Annotated[str, typer.Argument(metavar="SWARM", help="Id of the swarm.")]

_COLUMNS = (
    *map(Column, ("swarm", "session")),
    *map(number, ("slots", "USD/hour")),
    *map(text, ("model", "holds", "capabilities")),
)


@app.command("list")
def list_swarms(server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """List all swarms by id."""

    async def command(client: Client) -> None:
        swarms = [swarm async for swarm in client.swarms.list()]
        if json_output:
            print_json({"swarms": [as_json(swarm) for swarm in swarms]})
        else:
            print_rows(_COLUMNS, map(_row, swarms), NO_SWARMS)

    run(server, command)


@app.command()
def get(swarm: SwarmId, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """Show one swarm."""

    async def command(client: Client) -> None:
        _show(await client.swarms.get(swarm), json_output=json_output)

    run(server, command)


@app.command()
def register(
    swarm: SwarmId,
    *,
    capability: Annotated[
        list[str] | None,
        typer.Option("--capability", metavar="NAME", help="What it can do; repeat it."),
    ] = None,
    cost_per_hour: Annotated[
        int | None,
        typer.Option("--cost-per-hour", parser=usd, metavar="USD", help="Price of an hour."),
    ] = None,
    model: Annotated[str, typer.Option(metavar="MODEL", help="Model that it runs on.")] = "",
    slots: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Tasks at the same time.")
    ] = 1,
    pool: Annotated[
        str, typer.Option(metavar="NAME", help="Account at a provider that it shares.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Make a swarm known, or replace its registration."""

    async def command(client: Client) -> None:
        registered = await client.swarms.register(
            swarm,
            capability or (),
            cost_per_hour_micros=cost_per_hour or 0,
            model=model,
            max_concurrent_tasks=slots,
            credential_pool=pool,
        )
        _show(registered, json_output=json_output)

    run(server, command)


@app.command()
def deregister(swarm: SwarmId, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """Forget a swarm: its session ends and its tasks go back."""

    async def command(client: Client) -> None:
        released = await client.swarms.deregister(swarm)
        if json_output:
            print_json({"released_task_ids": released})
        else:
            say(f"{swarm}: deregistered; tasks that went back: {', '.join(released) or 'none'}")

    run(server, command)


def _show(swarm: Swarm, *, json_output: bool) -> None:
    if json_output:
        print_json(as_json(swarm))
    else:
        print_rows(_COLUMNS, [_row(swarm)])


def _row(swarm: Swarm) -> tuple[str, ...]:
    return (
        swarm.swarm_id,
        "open" if swarm.connected else "",
        str(swarm.max_concurrent_tasks),
        format_usd(swarm.cost_per_hour_micros),
        swarm.model,
        ", ".join(swarm.claimed_task_ids),
        ", ".join(swarm.capabilities),
    )
