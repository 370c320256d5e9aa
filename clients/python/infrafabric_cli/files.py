"""Files that commands write."""

from pathlib import Path

import typer

from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.output import complain


def replace(file: Path, text: str) -> None:
    """Write a file; whoever polls it sees what it was or what it is, never half of it.

    Ends the command with a message when that is not possible.
    """
    fresh = file.with_name(f".{file.name}.new")
    try:
        # As it is: a line of CSV ends in a carriage return and a line feed.
        fresh.write_text(text, newline="")
        fresh.replace(file)
    except OSError as error:
        complain(f"{file}: cannot be written: {error.strerror}")
        raise typer.Exit(ExitCode.USAGE) from None
