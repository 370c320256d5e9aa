"""`infrafabric blocker`: reports and resolves what keeps a swarm from going on."""

from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.v1.blocker_pb2 import Blocker
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server, Swarm
from infrafabric_cli.output import as_json, print_json, say
from infrafabric_cli.running import run

app = typer.Typer(no_args_is_help=True)


@app.command()
def report(
    description: Annotated[str, typer.Argument(metavar="DESCRIPTION", help="What is wrong.")],
    *,
    swarm: Swarm,
    task: Annotated[str, typer.Option("--task", metavar="ID", help="Task that is blocked.")] = "",
    attempt: Annotated[
        int,
        typer.Option("--attempt", min=0, metavar="N", help="Attempt of its claim; 0 without one."),
    ] = 0,
    needs: Annotated[
        list[str] | None,
        typer.Option("--needs", metavar="NAME", help="Capability that would help; repeat it."),
    ] = None,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Tell the orchestrator that a swarm cannot go on, and park the task that it names."""

    async def command(client: Client) -> None:
        blocker = await client.claims.report_blocker(
            swarm, description, task_id=task, attempt=attempt, needs=needs or ()
        )
        _show(blocker, "reported", json_output=json_output)

    run(server, command)


@app.command()
def resolve(
    resolution: Annotated[str, typer.Argument(metavar="RESOLUTION", help="What resolved it.")] = "",
    *,
    swarm: Swarm,
    task: Annotated[str, typer.Option("--task", metavar="ID", help="Task that was blocked.")] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Close a blocker and give the parked task back to its swarm."""

    async def command(client: Client) -> None:
        blocker = await client.claims.resolve_blocker(swarm, task_id=task, resolution=resolution)
        _show(blocker, "resolved", json_output=json_output)

    run(server, command)


def _show(blocker: Blocker, what: str, *, json_output: bool) -> None:
    if json_output:
        print_json(as_json(blocker))
    else:
        task = f" on {blocker.task_id}" if blocker.task_id else ""
        say(f"{what}: {blocker.swarm_id}{task}")
