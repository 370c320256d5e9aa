"""Reading tasks: list, get, watch."""

from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.v1.coordinator_task_pb2 import TaskEvent
from infrafabric.v1.task_pb2 import TaskState
from infrafabric_cli.names import short, value_of
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server
from infrafabric_cli.output import as_json, print_json, print_pairs, print_rows, say
from infrafabric_cli.running import first_answer, must_exist, run
from infrafabric_cli.tasks.show import COLUMNS, details, row, state
from infrafabric_cli.tasks.waiting import waits_because

TaskId = Annotated[str, typer.Argument(metavar="TASK", help="Id of the task.")]

_STATES = ", ".join(short(TaskState.DESCRIPTOR, value) for value in TaskState.values()[1:])

_NONE = "no tasks; create one: infrafabric tasks create TITLE"
_NONE_SUCH = "no such tasks; without --state and --owner, all are listed"


def _state(text: str) -> int:
    try:
        return value_of(TaskState.DESCRIPTOR, text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def list_tasks(
    *,
    states: Annotated[
        list[int] | None,
        typer.Option(
            "--state", parser=_state, metavar="STATE", help=f"One of {_STATES}; repeat it."
        ),
    ] = None,
    owner: Annotated[str, typer.Option(metavar="SWARM", help="Only tasks that it holds.")] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """List tasks by id."""
    wanted = [TaskState.ValueType(value) for value in states or ()]

    async def command(client: Client) -> None:
        tasks = [task async for task in client.tasks.list(states=wanted, owner_swarm_id=owner)]
        if not tasks:
            await must_exist(client, swarm=owner)
        if json_output:
            print_json({"tasks": [as_json(task) for task in tasks]})
        else:
            print_rows(COLUMNS, map(row, tasks), _NONE_SUCH if wanted or owner else _NONE)

    run(server, command)


def get(task: TaskId, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """Show all that is known of a task."""

    async def command(client: Client) -> None:
        found = await client.tasks.get(task)
        if json_output:
            print_json(as_json(found))
        else:
            print_pairs(details(found, await waits_because(client, found)))

    run(server, command)


def watch(
    after: Annotated[
        str, typer.Option(metavar="CURSOR", help="Resume after this event of an earlier watch.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Print every task, and then every change, without end."""

    async def command(client: Client) -> None:
        await first_answer(client)
        async for event in client.tasks.watch(after):
            if json_output:
                print_json(as_json(event))
            elif text := _line(event):
                say(text)

    run(server, command)


def _line(event: TaskEvent) -> str:
    kind = event.WhichOneof("event")
    if kind == "gap":
        return "changes were missed; all tasks follow anew"
    if kind == "snapshot_end":
        return f"{event.snapshot_end.count} tasks; what follows is live"
    task = event.snapshot if kind == "snapshot" else event.changed
    owner = f" by {task.owner_swarm_id}" if task.owner_swarm_id else ""
    milestone = f", {task.milestone_percent} %" if task.milestone_percent else ""
    return f"{task.task_id}: {state(task)}{owner}{milestone}  {task.title}".rstrip()
