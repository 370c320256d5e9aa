"""The command `infrafabric`: puts the groups of commands together."""

from importlib.metadata import version as release
from typing import Annotated

import typer

from infrafabric_cli import broadcast, doctor, match, notify, serve, status
from infrafabric_cli.blocker import app as blocker
from infrafabric_cli.board.commands import app as board
from infrafabric_cli.breaker import app as breaker
from infrafabric_cli.budget import app as budget
from infrafabric_cli.chassis import app as chassis
from infrafabric_cli.cost import app as cost
from infrafabric_cli.credential import app as credential
from infrafabric_cli.escalations import app as escalations
from infrafabric_cli.help import app as helping
from infrafabric_cli.output import say
from infrafabric_cli.policy import app as policy
from infrafabric_cli.reputation import app as reputation
from infrafabric_cli.reputation import slo
from infrafabric_cli.store import app as store
from infrafabric_cli.swarm import app as swarm
from infrafabric_cli.tasks import app as tasks
from infrafabric_cli.witness import app as witness

_HELP = """Coordinate swarms of agents: tasks are claimed once, pushed at once, and on record.

Exit codes: 0 done, 1 refused or lost, 2 wrong use, 3 unreachable, 4 the witness log is damaged,
5 data of another release, 130 interrupted, 141 the reader of the output is gone.
"""

app = typer.Typer(
    name="infrafabric", help=_HELP, no_args_is_help=True, pretty_exceptions_show_locals=False
)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.command("status")(status.status)
app.command("notify")(notify.notify)
app.command("match")(match.match)
app.command("broadcast")(broadcast.broadcast)
app.command("slo")(slo)
app.add_typer(tasks, name="tasks", help="Create, claim, finish and watch tasks.")
app.add_typer(board, name="board", help="Bring whole boards of tasks in and out.")
app.add_typer(swarm, name="swarm", help="Register, read and forget swarms.")
app.add_typer(blocker, name="blocker", help="Report and resolve what keeps a swarm from going on.")
app.add_typer(
    helping,
    name="help",
    help="Ask idle swarms for help with a blocker, and give it. (All commands: --help.)",
)
app.add_typer(
    escalations, name="escalations", help="What wants a person, and who takes care of it."
)
app.add_typer(breaker, name="breaker", help="What keeps work from swarms, until a person resets.")
app.add_typer(credential, name="credential", help="What holders of claims may reach.")
app.add_typer(reputation, name="reputation", help="What swarms are worth by what they have done.")
app.add_typer(budget, name="budget", help="What accounts may spend, and how they stand.")
app.add_typer(cost, name="cost", help="What was spent on what, and what of it was in vain.")
app.add_typer(chassis, name="chassis", help="Load and run modules in the box for foreign code.")
app.add_typer(policy, name="policy", help="Read the policy in force, and check a file.")
app.add_typer(store, name="store", help="Dump, restore and move whole fabrics.")
app.add_typer(witness, name="witness", help="Read and verify the record of decisions.")


def _print_release(asked: bool) -> None:
    if asked:
        say(f"infrafabric {release('infrafabric')}")
        raise typer.Exit


@app.callback()
def top(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_release, is_eager=True, help="Print which release this is."
        ),
    ] = False,
) -> None:
    """Take what belongs to no command."""


def main() -> None:
    """Run the command line."""
    app()
