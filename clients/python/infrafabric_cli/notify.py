"""`infrafabric notify`: reports a swarm's status from a script."""

from enum import StrEnum
from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.v1.notify_service_pb2 import NotifyRequest
from infrafabric.v1.status_pb2 import Status
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server, Swarm, usd
from infrafabric_cli.output import as_json, print_json, say
from infrafabric_cli.running import run


class Report(StrEnum):
    """The statuses that a swarm can report."""

    IDLE = "idle"
    BUSY = "busy"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    HELP = "help"


def notify(
    status: Annotated[
        Report, typer.Argument(metavar="STATUS", help="idle, busy, blocked, completed or help.")
    ],
    message: Annotated[
        str,
        typer.Argument(
            metavar="MESSAGE",
            help="The task (idle, busy, completed) or the reason (blocked, help).",
        ),
    ] = "",
    *,
    swarm: Swarm,
    task: Annotated[
        str, typer.Option("--task", metavar="ID", help="Task that a reason is about.")
    ] = "",
    capability: Annotated[
        list[str] | None,
        typer.Option("--capability", metavar="NAME", help="What the swarm can do; repeat it."),
    ] = None,
    needs: Annotated[
        list[str] | None,
        typer.Option("--needs", metavar="NAME", help="Capability that would help; repeat it."),
    ] = None,
    cost_spent: Annotated[
        int | None, typer.Option("--cost-spent", parser=usd, metavar="USD", help="Spent so far.")
    ] = None,
    tasks_completed: Annotated[
        int, typer.Option("--tasks-completed", min=0, metavar="N", help="Completed so far.")
    ] = 0,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Report what a swarm is doing; an unknown swarm registers itself."""
    reason = status in (Report.BLOCKED, Report.HELP)
    request = NotifyRequest(
        swarm_id=swarm,
        status=Status.Value(f"STATUS_{status.name}"),
        task_id=task or ("" if reason else message),
        message=message if reason else "",
        capabilities=capability or (),
        needs=needs or (),
        cost_spent_micros=cost_spent or 0,
        tasks_completed=tasks_completed,
    )

    async def command(client: Client) -> None:
        answer = await client.statuses.notify(request)
        if json_output:
            print_json(as_json(answer))
            return
        say(f"{swarm}: {status}")
        if answer.queue_position:
            say(f"place in the idle queue: {answer.queue_position}")
        if status is Report.HELP and not answer.helpers:
            say("nobody who is idle covers half of the needs")
        if answer.escalated:
            say("the orchestrator has been told")
        for helper in answer.helpers:
            covered = ", ".join(helper.capabilities)
            say(f"could help: {helper.swarm_id} ({helper.coverage:.0%} of the needs: {covered})")

    run(server, command)
