"""Creating one task."""

from datetime import datetime
from typing import Annotated, Any

import typer

from infrafabric import Client
from infrafabric.v1.task_pb2 import Dispatch, Task
from infrafabric.values import to_struct
from infrafabric_cli.board.fields import parse_hours
from infrafabric_cli.options import (
    DEFAULT_SERVER,
    JSON_METAVAR,
    TIMES,
    Json,
    Server,
    instant,
    json_object,
    one_of,
    usd,
)
from infrafabric_cli.running import run
from infrafabric_cli.tasks.show import show


def _microseconds(text: str) -> int:
    try:
        return parse_hours(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


_TASK_ID = typer.Option("--id", metavar="ID", help="The server chooses one if it is not given.")
_CAPABILITY = typer.Option("--capability", metavar="NAME", help="What a swarm needs; repeat it.")
_DEPENDS = typer.Option("--depends", metavar="TASK", help="Task that comes first; repeat it.")
_MAX_COST = typer.Option(
    "--max-cost",
    parser=usd,
    metavar="USD",
    help="The most that all attempts may cost, in US dollars.",
)
_HOURS = typer.Option(
    parser=_microseconds, metavar="HOURS", help="Expected work, in hours: 0 to 720."
)
_DEADLINE = typer.Option(parser=instant, metavar="TIME", help=f"Fails if not ended then; {TIMES}.")
_DISPATCH = typer.Option(
    parser=one_of(Dispatch.DESCRIPTOR), metavar="HOW", help="auto, broadcast or manual."
)
_CHASSIS = typer.Option("--chassis", metavar="SWARM", help="Loaded swarm whose module does it.")


def create(  # noqa: PLR0913  # each option is a parameter
    title: Annotated[str, typer.Argument(metavar="TITLE", help="One line for people.")],
    *,
    task_id: Annotated[str | None, _TASK_ID] = None,
    capability: Annotated[list[str] | None, _CAPABILITY] = None,
    depends: Annotated[list[str] | None, _DEPENDS] = None,
    task_input: Annotated[
        Any,
        typer.Option("--input", parser=json_object, metavar=JSON_METAVAR, help="For the worker."),
    ] = None,
    max_cost: Annotated[int | None, _MAX_COST] = None,
    priority: Annotated[
        int, typer.Option(min=-1000, max=1000, metavar="N", help="Higher goes first.")
    ] = 0,
    filler: Annotated[
        bool, typer.Option("--filler", help="For those who wait or have nothing else to do.")
    ] = False,
    hours: Annotated[int | None, _HOURS] = None,
    deadline: Annotated[datetime | None, _DEADLINE] = None,
    dispatch: Annotated[int | None, _DISPATCH] = None,
    chassis: Annotated[str, _CHASSIS] = "",
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="Makes a repeat harmless for 24 hours.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Create a task; it is assigned at once if a swarm that fits is free."""
    if not title.strip():
        raise typer.BadParameter("must not be empty: people read it", param_hint="TITLE")
    if task_id == "":
        raise typer.BadParameter("must not be empty; without it, one is chosen", param_hint="--id")
    task = Task(
        task_id=task_id or "",
        title=title,
        required_capabilities=capability or (),
        dependencies=depends or (),
        max_cost_micros=max_cost,
        priority=priority,
        filler=filler,
        dispatch=Dispatch.ValueType(dispatch or Dispatch.DISPATCH_AUTO),
        chassis_swarm_id=chassis,
    )
    if task_input is not None:
        task.input.CopyFrom(to_struct(task_input))
    if hours:
        task.estimated_duration.FromMicroseconds(hours)
    if deadline is not None:
        task.deadline_time.FromDatetime(deadline)

    async def command(client: Client) -> None:
        show(await client.tasks.create(task, request_id=request_id), json_output=json_output)

    run(server, command)
