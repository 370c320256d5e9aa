"""`infrafabric policy`: the policy in force, and whether a file could be one."""

from pathlib import Path
from typing import Annotated

import typer

from infrafabric import Client
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.names import moment
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server
from infrafabric_cli.output import as_json, complain, print_json, say
from infrafabric_cli.running import run

app = typer.Typer(no_args_is_help=True)


@app.command()
def show(*, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """Show the policy in force, with every default spelled out.

    It is that of the server that answers: each replica reads a file of its own.
    Exit code 1: the file as it is now has problems, and is not in force.
    """

    async def command(client: Client) -> None:
        found = await client.policy.get()
        if json_output:
            print_json(as_json(found))
        else:
            source = found.source or "the defaults"
            say(f"# {source}, in force since {moment(found.load_time)}")
            say(f"# hash {found.policy_hash}")
            for other in found.others:
                if other.policy_hash != found.policy_hash:
                    say(f"# the replica at {other.host} goes by another: {other.policy_hash}")
            for line in found.policy_yaml.splitlines():
                say(line)
        for each in found.problems:
            complain(_told(found.source, each.line, each.path, each.problem))
        if found.problems:
            raise typer.Exit(ExitCode.REFUSED)

    run(server, command)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The policy, in YAML.")],
    *,
    json_output: Json = False,
) -> None:
    """Check a policy and run the cases in it; no server is needed.

    Prints its problems, one a line, in the order of the file; the cases are
    run when there are no others. Exit code 1: there are some; 2: the file
    cannot be read.
    """
    # No other command but `serve` loads the server.
    from infrafabric_server.governor.policy.checking import check as checked
    from infrafabric_server.governor.policy.file import read

    try:
        found = checked(read(file))
    except OSError as error:
        complain(f"{file}: cannot be read: {error.strerror}")
        raise typer.Exit(ExitCode.USAGE) from None
    if json_output:
        problems = [
            {"path": each.path, "line": each.line, "problem": each.problem}
            for each in found.problems
        ]
        print_json({"policy_hash": found.hash, "cases": found.cases, "problems": problems})
    else:
        for each in found.problems:
            say(_told(str(file), each.line, each.path, each.problem))
        if not found.problems:
            say(f"{file}: good; cases that hold: {found.cases}; hash {found.hash}")
    if found.problems:
        raise typer.Exit(ExitCode.REFUSED)


def _told(source: str, line: int, path: str, problem: str) -> str:
    return f"{source}:{line}: {path}{': ' if path else ''}{problem}"
