"""What a supervisor does with tasks: push, offer, assign, cancel."""

from typing import Annotated

import typer

from infrafabric import Client
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.match import by_rule
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server
from infrafabric_cli.output import as_json, print_json, say
from infrafabric_cli.running import run
from infrafabric_cli.tasks.read import TaskId
from infrafabric_cli.tasks.show import show


def cancel(
    task: TaskId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.")] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Call a task off, and every task that depends on it."""

    async def command(client: Client) -> None:
        show(await client.tasks.cancel(task, reason), json_output=json_output)

    run(server, command)


def push(
    task: TaskId,
    swarm: Annotated[str, typer.Argument(metavar="SWARM", help="Who is to have it.")],
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Offer a task to one swarm, which alone may then claim it."""

    async def command(client: Client) -> None:
        show(await client.tasks.push(swarm, task), json_output=json_output)

    run(server, command)


def offer(task: TaskId, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """Offer a task to every qualified swarm that has a session; the first claim wins."""

    async def command(client: Client) -> None:
        answer = await client.tasks.broadcast(task)
        if json_output:
            print_json(as_json(answer))
        else:
            say(f"{task}: offered to {answer.offered} swarms")

    run(server, command)


def assign(task: TaskId, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """Claim a task for the best free swarm that has a session; exit code 1 when none fits."""

    async def command(client: Client) -> None:
        answer = await client.tasks.assign(task)
        if json_output:
            print_json(as_json(answer))
        elif answer.swarm_id:
            say(f"{task}: assigned to {answer.swarm_id} (match {answer.match:.0%})")
        else:
            left_out = by_rule(answer.exclusion_counts)
            say(f"{task}: no swarm fits" + (f": left out {left_out}" if left_out else ""))
        if not answer.swarm_id:
            raise typer.Exit(ExitCode.REFUSED)

    run(server, command)
