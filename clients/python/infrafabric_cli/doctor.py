"""`infrafabric doctor`: checks what a server would stand on."""

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from infrafabric_cli import settings
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.options import Json
from infrafabric_cli.output import plain, print_json, say
from infrafabric_cli.settings import PLACES, Flags, with_settings

if TYPE_CHECKING:
    from infrafabric_server.doctor.findings import Finding

_MARKS = {"ok": "ok", "note": "NOTE", "problem": "PROBLEM"}
_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}
# Marks and checks are in columns: the longest check is max-request-bytes.
_MARK = 8
_CHECK = 18
_NARROWEST = 60


def _monitor(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise typer.BadParameter("must be a URL such as http://127.0.0.1:8222")
    return text


@with_settings((*PLACES, "policy"))
def doctor(
    flags: Flags,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file with settings.")
    ] = None,
    nats_monitor: Annotated[
        list[str] | None,
        typer.Option(
            parser=_monitor,
            metavar="URL",
            help="Monitoring page of a NATS server, http://HOST:8222; once for each server.",
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """Check what a server with these settings would stand on, and say what to do.

    It takes the settings of `infrafabric serve` and looks at the data folder,
    and with several replicas at every server of etcd and NATS: versions,
    leaders, limits, quotas, alarms, certificates, clocks, and how long small
    requests take. It writes nothing that stays, and can run beside a server.
    Exit code 1: there is a problem.

    Clocks are compared with this machine's: run it on each machine that runs
    a replica.
    """
    chosen = settings.load(flags, config)
    # No other command loads these.
    from infrafabric_server.clock import SystemClock
    from infrafabric_server.doctor.examine import examine
    from infrafabric_server.doctor.findings import Level, worst
    from infrafabric_server.logs import configure_logs

    configure_logs("critical")
    found = asyncio.run(examine(chosen, os.environ, SystemClock(), nats_monitor or ()))
    if json_output:
        print_json({"level": worst(found), "findings": [asdict(finding) for finding in found]})
    else:
        _print(found)
    if worst(found) is Level.PROBLEM:
        raise typer.Exit(ExitCode.REFUSED)


def _print(found: "Sequence[Finding]") -> None:
    width = max(get_terminal_size().columns, _NARROWEST)
    indent = " " * (2 + _MARK + _CHECK + 1)
    subject = ""
    for finding in found:
        if finding.subject != subject:
            subject = finding.subject
            say(subject)
        mark = _MARKS[finding.level].ljust(_MARK)
        if sys.stdout.isatty():
            mark = typer.style(mark, fg=_COLOURS[finding.level])
        lines = wrap(plain(finding.text), width - len(indent), break_on_hyphens=False)
        typer.echo(f"  {mark}{finding.check.ljust(_CHECK)} {lines[0] if lines else ''}")
        for line in lines[1:]:
            typer.echo(indent + line)
        # What to do stands a little out, so that it is found at once.
        for line in wrap(
            plain(finding.advice),
            width,
            initial_indent=f"{indent}-> ",
            subsequent_indent=f"{indent}   ",
            break_on_hyphens=False,
        ):
            typer.echo(line)
    problems = sum(finding.level == "problem" for finding in found)
    notes = sum(finding.level == "note" for finding in found)
    say(f"{len(found)} checks: {problems} problems, {notes} notes")
