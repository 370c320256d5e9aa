"""`infrafabric witness`: reads and verifies the record of decisions."""

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.v1.entry_pb2 import Entry
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest, TailEntriesRequest
from infrafabric.values import from_struct
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.layout import Column, number, text
from infrafabric_cli.names import moment
from infrafabric_cli.options import DEFAULT_SERVER, TIMES, Json, Server, instant
from infrafabric_cli.output import as_json, complain, json_text, print_json, print_rows, say
from infrafabric_cli.running import first_answer, run

app = typer.Typer(no_args_is_help=True)

Component = Annotated[
    str, typer.Option(metavar="NAME", help="Only this component, for example coordinator.")
]
Operation = Annotated[
    str, typer.Option(metavar="NAME", help="Only this operation, for example claim_won.")
]
OfSwarm = Annotated[str, typer.Option("--swarm", metavar="ID", help="Only this swarm.")]
OfTask = Annotated[str, typer.Option("--task", metavar="ID", help="Only this task.")]
After = Annotated[
    datetime | None,
    typer.Option(
        parser=instant, metavar="TIME", help=f"Only what was decided from then on; {TIMES}."
    ),
]
Before = Annotated[
    datetime | None,
    typer.Option(parser=instant, metavar="TIME", help="Only what was decided before."),
]

_COLUMNS = (
    *(number("sequence"), *map(Column, ("time", "component", "operation", "swarm", "task"))),
    *(number("attempt"), text("details")),
)
# For people, who need not see the component: an operation has one. What was decided in one second
# stands below it where the terminal is narrow.
_SHOWN = (_COLUMNS[0], _COLUMNS[1], *_COLUMNS[3:])
_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_MICROSECONDS = re.compile(r"(T\d\d:\d\d:\d\d)\.\d+\+00:00")


@app.command()
def query(
    *,
    component: Component = "",
    operation: Operation = "",
    swarm: OfSwarm = "",
    task: OfTask = "",
    after: After = None,
    before: Before = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Show at most so many entries.")
    ] = 100,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """List decisions, oldest first; with --task, one task's whole story.

    Exit code 1: the log has nothing at all about what is named.
    """
    filters = QueryEntriesRequest(
        component=component, operation=operation, swarm_id=swarm, task_id=task
    )
    if after is not None:
        filters.after.FromDatetime(after)
    if before is not None:
        filters.before.FromDatetime(before)
    filters.page_size = min(limit, 1_000)

    async def command(client: Client) -> None:
        entries = await _read(client, filters, limit)
        if json_output:
            print_json({"entries": [as_json(entry) for entry in entries]})
        elif sys.stdout.isatty():
            print_rows(_SHOWN, (_shown(entry) for entry in entries))
        else:
            print_rows(_COLUMNS, (_row(entry) for entry in entries))

    run(server, command)


@app.command()
def tail(
    *,
    component: Component = "",
    operation: Operation = "",
    swarm: OfSwarm = "",
    task: OfTask = "",
    after_sequence: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Begin after this entry; 0 is all.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Print each decision as it is made, without end."""
    filters = TailEntriesRequest(
        after_sequence=after_sequence,
        component=component,
        operation=operation,
        swarm_id=swarm,
        task_id=task,
    )

    async def command(client: Client) -> None:
        await first_answer(client)
        if unknown := await _unknown(client, filters):
            complain(f"{unknown}; waiting for the first one")
        async for entry in client.witness.tail(filters):
            if json_output:
                print_json(as_json(entry))
            else:
                say(_line(entry))

    run(server, command)


@app.command()
def export(server: Server = DEFAULT_SERVER) -> None:
    """Print the whole log as JSON lines, with the bodies and hashes that verify it."""

    async def command(client: Client) -> None:
        async for entry in client.witness.query():
            print_json(as_json(entry))

    run(server, command)


@app.command()
def verify(
    *,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Read this data folder instead of asking a server."),
    ] = None,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Check the chain of the whole log; exit code 4 names the first entry that is bad.

    The last sequence and hash are printed: note them, and a log that was cut off or forged
    since shows by not containing them.
    """
    from infrafabric_cli import verification

    result = verification.of_folder(data) if data else verification.of_server(server)
    if json_output:
        print_json(verification.as_json(result))
    else:
        for line in verification.lines(result):
            say(line)
    if result.broken is not None:
        raise typer.Exit(ExitCode.TAMPERED)


async def _read(client: Client, filters: QueryEntriesRequest, limit: int) -> list[Entry]:
    entries: list[Entry] = []
    async for entry in client.witness.query(filters):
        entries.append(entry)
        if len(entries) == limit:
            break
    if not entries:
        unknown = await _unknown(client, filters)
        complain(unknown or "no entry fits")
        if unknown:
            raise typer.Exit(ExitCode.REFUSED)
    return entries


async def _unknown(client: Client, filters: QueryEntriesRequest | TailEntriesRequest) -> str:
    """Return what the log has nothing at all about, such as a misspelt operation; else nothing."""
    for name in ("component", "operation", "swarm_id", "task_id"):
        wanted = getattr(filters, name)
        alone = QueryEntriesRequest(page_size=1, **{name: wanted})
        if wanted and await anext(client.witness.query(alone), None) is None:
            known = "" if name.endswith("_id") else "; docs/witness.md lists what is recorded"
            return f"no entry has the {name.removesuffix('_id')} {wanted}{known}"
    return ""


def _line(entry: Entry) -> str:
    return "  ".join(cell for cell in _row(entry) if cell)


def _shown(entry: Entry) -> tuple[str, ...]:
    """Return the cells of an entry for people."""
    sequence, time, _, *others, details = _row(entry)
    return (sequence, time, *others, _MICROSECONDS.sub(r"\1Z", _HASH.sub(r"\1…", details)))


def _row(entry: Entry) -> tuple[str, ...]:
    details = from_struct(entry.details)
    return (
        str(entry.sequence),
        moment(entry.decide_time),
        entry.component,
        entry.operation,
        entry.swarm_id,
        entry.task_id,
        str(entry.attempt or ""),
        json_text(details) if details else "",
    )
