"""`infrafabric help`: idle swarms are asked to gang up on a blocker, and accept to help."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from infrafabric import Client
from infrafabric.money import format_usd
from infrafabric.v1.help_pb2 import HelpRequest, HelpState, HelpUrgency
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.layout import Column, number, text
from infrafabric_cli.names import short
from infrafabric_cli.options import DEFAULT_SERVER, Attempt, Json, Server, Swarm, one_of, usd
from infrafabric_cli.output import as_json, print_json, print_rows, say
from infrafabric_cli.running import run


class _Help(TyperGroup):
    """Tells who looks for the help of a command where that is."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in ctx.find_root().command.commands:
            # None of ours is meant.
            self.suggest_commands = False
            ctx.fail(f"swarms help each other here; for {cmd_name}: infrafabric {cmd_name} --help")
        return found


app = typer.Typer(cls=_Help, no_args_is_help=True)

_COLUMNS = (
    *map(Column, ("request", "state")),
    *map(text, ("helpers", "asked")),
    *(number("spent/budget USD"), text("wanted")),
)
_NONE = "no requests for help; make one: infrafabric help ask TASK REASON"
_NONE_SUCH = "no such requests for help; without --state, all are listed"


@app.command()
def ask(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Task that cannot go on.")],
    reason: Annotated[str, typer.Argument(metavar="REASON", help="What is wrong.")],
    *,
    swarm: Swarm,
    attempt: Attempt,
    needs: Annotated[
        list[str],
        typer.Option("--needs", metavar="NAME", help="Capability that would help; repeat it."),
    ],
    urgency: Annotated[
        int | None,
        typer.Option(
            parser=one_of(HelpUrgency.DESCRIPTOR),
            metavar="HOW",
            help="low, high or critical, which tells a person at once; low, if it is not given.",
        ),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            parser=usd,
            metavar="USD",
            help="What all helpers may spend; what the task's reservation has left, if not given.",
        ),
    ] = None,
    request_id: Annotated[
        str, typer.Option("--request-id", metavar="ID", help="A repeat with it changes nothing.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Ask idle swarms for help with a task, and park it until its blocker is resolved.

    `infrafabric blocker resolve` ends the request. Asked again, it changes, and helpers stay.
    """

    async def command(client: Client) -> None:
        asked = await client.help.request(
            *(swarm, task, attempt, reason, needs),
            urgency=HelpUrgency.ValueType(urgency or HelpUrgency.HELP_URGENCY_UNSPECIFIED),
            budget_micros=budget,
            request_id=request_id,
        )
        if json_output:
            print_json(as_json(asked))
        else:
            say(line(asked))

    run(server, command)


@app.command()
def accept(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="Id of the request.")],
    *,
    swarm: Swarm,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Help another swarm; exit code 1 when others were first or it is over.

    What it costs is charged to the swarm that asks: `infrafabric cost track --help-id`.
    """

    async def command(client: Client) -> None:
        answer = await client.help.accept(swarm, request)
        if json_output:
            print_json(as_json(answer))
        elif answer.accepted:
            say(line(answer.help))
        else:
            say(f"{request}: {swarm} does not help: {answer.refusal_detail}")
        if not answer.accepted:
            raise typer.Exit(ExitCode.REFUSED)

    run(server, command)


@app.command("list")
def list_requests(
    *,
    state: Annotated[
        int | None,
        typer.Option(
            parser=one_of(HelpState.DESCRIPTOR),
            metavar="STATE",
            help="Only those that are open, staffed, unqualified or ended.",
        ),
    ] = None,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """List who asks for help and who helps; what ended stays for an hour."""

    async def command(client: Client) -> None:
        wanted = HelpState.ValueType(state or HelpState.HELP_STATE_UNSPECIFIED)
        found = [each async for each in client.help.list(wanted)]
        if json_output:
            print_json({"help": [as_json(each) for each in found]})
            return
        print_rows(_COLUMNS, map(row, found), _NONE_SUCH if wanted else _NONE)

    run(server, command)


def line(request: HelpRequest) -> str:
    """Return a request on one line."""
    name, state, helpers, asked, money, wanted = row(request)
    asked = f"; asked: {asked}" if asked else ""
    return f"{name}: {state}; helpers {helpers}{asked}; {money} USD; {wanted}"


def row(request: HelpRequest) -> tuple[str, ...]:
    """Return the cells of one request, in the order of the headers."""
    state = short(HelpState.DESCRIPTOR, request.state)
    if request.urgency > HelpUrgency.HELP_URGENCY_LOW:
        state += f" {short(HelpUrgency.DESCRIPTOR, request.urgency)}"
    helpers = f"{len(request.helper_swarm_ids)} of {request.max_helpers}"
    if request.helper_swarm_ids:
        helpers += f": {' '.join(request.helper_swarm_ids)}"
    needs = " ".join(request.needs)
    return (
        request.help_id,
        state,
        helpers,
        " ".join(request.asked_swarm_ids),
        f"{format_usd(request.spent_micros)}/{format_usd(request.budget_micros)}",
        f"{request.swarm_id} in {request.task_id} needs {needs}: {request.reason}",
    )
