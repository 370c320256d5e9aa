"""`infrafabric board`: brings whole boards of tasks in and out."""

import hashlib
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.errors import FabricError
from infrafabric.v1.task_pb2 import TaskState
from infrafabric_cli.board.fields import PATHS
from infrafabric_cli.board.markdown_form import write_markdown
from infrafabric_cli.board.model import MAX_BYTES, BoardError, BoardTask, Problem
from infrafabric_cli.board.reading import read_board
from infrafabric_cli.board.yaml_form import write_yaml
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.files import replace
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server
from infrafabric_cli.output import as_json, complain, print_json, print_rows, say
from infrafabric_cli.running import code_of, run
from infrafabric_cli.tasks.show import COLUMNS, row

app = typer.Typer(no_args_is_help=True)

_PATH = re.compile(r"tasks\[(\d+)\]\.?(\w*)(.*)")
_LIVE = [
    TaskState.TASK_STATE_BLOCKED,
    TaskState.TASK_STATE_AVAILABLE,
    TaskState.TASK_STATE_CLAIMED,
]


class Form(StrEnum):
    """The forms of a board."""

    YAML = "yaml"
    MARKDOWN = "markdown"


@app.command("import")
def import_board(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML, or Markdown if it ends .md.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and create nothing.")
    ] = False,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Create all tasks of a board, or none.

    The same file again within 24 hours creates nothing twice: it answers with the same tasks.
    Exit code 2 when the file breaks a rule; each problem is printed as FILE:LINE: FIELD: RULE.
    """
    try:
        board = read_board(file.name, _content(file))
    except BoardError as error:
        _tell(file, error)
        raise typer.Exit(ExitCode.USAGE) from None
    if dry_run:
        _say_checked(file, board, json_output=json_output)
        return

    async def command(client: Client) -> None:
        tasks = [each.task for each in board]
        try:
            created = await client.tasks.create_all(tasks, request_id=_request_id(board))
        except FabricError as error:
            problems = _located(error, board)
            if not problems:
                raise
            _tell(file, BoardError(problems))
            raise typer.Exit(code_of(error)) from None
        if json_output:
            print_json({"tasks": [as_json(task) for task in created]})
        else:
            print_rows(COLUMNS, map(row, created))

    run(server, command)


@app.command("export")
def export_board(
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Else standard output.")
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option("--form", metavar="yaml|markdown", help="Else by the name of FILE."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also tasks that have ended.")] = False,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Write the tasks as a board, which `board import` reads; poll it where no stream can go."""
    if json_output and (output is not None or form is not None):
        raise typer.BadParameter("give either --json, which goes to standard output, or a board")
    if form is None:
        markdown = output is not None and output.suffix.lower() in (".md", ".markdown")
        form = Form.MARKDOWN if markdown else Form.YAML

    async def command(client: Client) -> None:
        states = () if everything else _LIVE
        tasks = [task async for task in client.tasks.list(states=states)]
        if json_output:
            print_json({"tasks": [as_json(task) for task in tasks]})
            return
        text = write_markdown(tasks) if form is Form.MARKDOWN else write_yaml(tasks)
        if output is None:
            sys.stdout.write(text)
        else:
            replace(output, text)
            say(f"{output}: {len(tasks)} tasks")

    run(server, command)


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            # One byte more than allowed is enough to see that a file is too large.
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        complain(f"{file}: cannot be read: {error.strerror}")
        raise typer.Exit(ExitCode.USAGE) from None


def _say_checked(file: Path, board: list[BoardTask], *, json_output: bool) -> None:
    here = {each.task.task_id for each in board}
    needed = {name for each in board for name in each.task.dependencies} - here
    if json_output:
        print_json({"tasks": [as_json(each.task) for each in board], "needed": sorted(needed)})
        return
    say(f"{file}: {len(board)} tasks, nothing wrong with them")
    if needed:
        say(f"not in this file, so they must exist already: {', '.join(sorted(needed))}")


def _tell(file: Path, error: BoardError) -> None:
    for line in error.lines(str(file)):
        complain(line)


def _request_id(board: list[BoardTask]) -> str:
    digest = hashlib.sha256()
    for each in board:
        digest.update(each.task.SerializeToString(deterministic=True))
    return f"board-{digest.hexdigest()[:32]}"


def _located(error: FabricError, board: list[BoardTask]) -> list[Problem]:
    """Return the fields that a server refuses as places in the file; none if it names others."""
    problems = []
    for violation in error.fields:
        match = _PATH.fullmatch(violation.field)
        if match is None or int(match.group(1)) >= len(board):
            return []
        at = board[int(match.group(1))]
        name = PATHS.get(match.group(2), match.group(2))
        line = at.lines.get(name, at.line)
        problems.append(Problem(line, name + match.group(3), violation.rule))
    return problems
