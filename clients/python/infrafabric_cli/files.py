"""Files that commands read and write."""

from pathlib import Path

import typer

from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.output import complain


def content(file: Path) -> bytes:
    """Return all that a file has; end the command with a message when it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        complain(f"{file}: cannot be read: {error.strerror}")
        raise typer.Exit(ExitCode.USAGE) from None


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
