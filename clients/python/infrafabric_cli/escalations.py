"""`infrafabric escalations`: what wants a person, and who takes care of it."""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.v1.escalation_pb2 import Escalation, EscalationKind, EscalationState
from infrafabric.v1.governor_escalation_pb2 import EscalationEvent
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.layout import Column, number, text
from infrafabric_cli.names import age, moment, short
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server
from infrafabric_cli.output import as_json, complain, print_json, print_pairs, print_rows, say
from infrafabric_cli.running import first_answer, run

app = typer.Typer(no_args_is_help=False)

_COLUMNS = (
    *map(Column, ("escalation", "state")),
    *(number("level"), Column("since")),
    *map(text, ("by", "undelivered", "summary")),
)
_STATES = {
    "open": EscalationState.ESCALATION_STATE_OPEN,
    "acknowledged": EscalationState.ESCALATION_STATE_ACKNOWLEDGED,
    "closed": EscalationState.ESCALATION_STATE_CLOSED,
    "all": EscalationState.ESCALATION_STATE_UNSPECIFIED,
}


def _state(text: str) -> str:
    if text not in _STATES:
        raise typer.BadParameter(f"must be one of {', '.join(_STATES)}")
    return text


State = Annotated[
    str,
    typer.Option(
        "--state",
        parser=_state,
        metavar="STATE",
        help="Only those that are open, acknowledged or closed; all unless given.",
    ),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the escalation.")]


@app.callback(invoke_without_command=True)
def escalations(
    context: typer.Context,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Print a line for every change, without end.")
    ] = False,
    state: State = "all",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Show what wants a person: those of the last day, with who takes care of them."""
    given = _given(context)
    if context.invoked_subcommand is not None:
        if given:
            raise typer.BadParameter(f"give {', '.join(given)} after the command, or leave it out")
        return
    if watch and "--state" in given:
        raise typer.BadParameter("give either --watch, which tells of every change, or --state")

    async def command(client: Client) -> None:
        if watch:
            await first_answer(client)
            await _watch(client, as_lines=json_output)
            return
        await _list(client, state, json_output=json_output)

    run(server, command)


@app.command("list")
def list_escalations(
    *, state: State = "all", server: Server = DEFAULT_SERVER, json_output: Json = False
) -> None:
    """List them by id, as the command does without a verb."""
    run(server, partial(_list, state=state, json_output=json_output))


@app.command()
def show(escalation: Id, *, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """Show all that is known of an escalation."""

    async def command(client: Client) -> None:
        async for each in client.escalations.list():
            if each.escalation_id == escalation:
                break
        else:
            complain(f"escalation not found: {escalation}; a closed one is kept for a day")
            raise typer.Exit(ExitCode.REFUSED)
        if json_output:
            print_json(as_json(each))
        else:
            print_pairs(details(each))

    run(server, command)


@app.command()
def ack(
    escalation: Id,
    *,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who takes care of it.")],
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="What they say.")] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Say that somebody takes care of an escalation, so that it rises no more."""

    async def command(client: Client) -> None:
        acknowledged = await client.escalations.acknowledge(escalation, by, note=note)
        if json_output:
            print_json(as_json(acknowledged))
        else:
            say(line(acknowledged))

    run(server, command)


def _given(context: typer.Context) -> list[str]:
    """Return the options that were written down, and not taken from elsewhere."""
    sources = (
        (each, context.get_parameter_source(each.name or "")) for each in context.command.params
    )
    return [each.opts[0] for each, source in sources if source and source.name == "COMMANDLINE"]


async def _list(client: Client, state: str, *, json_output: bool) -> None:
    found = [each async for each in client.escalations.list(_STATES[state])]
    if json_output:
        print_json({"escalations": [as_json(each) for each in found]})
        return
    now = datetime.now(UTC)
    print_rows(_COLUMNS, (row(each, now) for each in found), _none(state))


def _none(state: str) -> str:
    if state == "all":
        return "no escalations: nothing has wanted a person for a day"
    return f"no escalation is {state}; without --state, all are listed"


async def _watch(client: Client, *, as_lines: bool) -> None:
    async for response in client.escalations.watch():
        for event in response.events:
            if as_lines:
                print_json({**as_json(event), "cursor": response.cursor})
            elif text := told(event):
                say(text)


def told(event: EscalationEvent) -> str:
    """Return an event as a line for people; empty when it says nothing to them."""
    match event.WhichOneof("event"):
        case "changed":
            return line(event.changed)
        case "removed_id":
            return f"{event.removed_id}: kept no more"
        case "gap":
            return "changes were missed; everything follows anew"
    return ""


def line(escalation: Escalation) -> str:
    """Return an escalation on one line."""
    state = short(EscalationState.DESCRIPTOR, escalation.state)
    by = f" by {escalation.acknowledged_by}" if escalation.acknowledged_by else ""
    missed = f" (not delivered: {', '.join(escalation.dead_letters)})"
    return (
        f"{escalation.escalation_id}: {state}{by}, level {escalation.level}: {escalation.summary}"
        f"{missed if escalation.dead_letters else ''}"
    )


def row(escalation: Escalation, now: datetime) -> tuple[str, ...]:
    """Return the cells of one escalation, in the order of the headers."""
    return (
        escalation.escalation_id,
        short(EscalationState.DESCRIPTOR, escalation.state),
        str(escalation.level),
        age(escalation.create_time, now),
        escalation.acknowledged_by,
        ",".join(escalation.dead_letters),
        escalation.summary,
    )


def details(escalation: Escalation) -> list[tuple[str, str]]:
    """Return all that is known of an escalation, as names and values, without what is empty."""
    pairs = [
        ("escalation", escalation.escalation_id),
        ("kind", short(EscalationKind.DESCRIPTOR, escalation.kind)),
        ("state", short(EscalationState.DESCRIPTOR, escalation.state)),
        ("level", str(escalation.level)),
        ("swarm", escalation.swarm_id),
        ("task", escalation.task_id),
        ("summary", escalation.summary),
        ("began", moment(escalation.create_time)),
        ("changed", moment(escalation.update_time)),
        ("closed", moment(escalation.close_time)),
        ("acknowledged by", escalation.acknowledged_by),
        ("note", escalation.acknowledgement),
        ("undelivered", ", ".join(escalation.dead_letters)),
    ]
    return [(name, value) for name, value in pairs if value]
