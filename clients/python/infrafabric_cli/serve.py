"""`infrafabric serve`: starts the server in this process."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from infrafabric_cli import settings
from infrafabric_cli.output import complain
from infrafabric_cli.settings import ALL, Flags, with_settings

Config = Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file with settings.")]


@with_settings(ALL)
def serve(flags: Flags, config: Config = None) -> None:
    """Start a server; it runs until SIGTERM or Ctrl-C, then drains.

    Alone it keeps everything in one folder. Given --store etcd://… and --bus
    nats://… it is one of any number of replicas of a fabric; each needs a
    folder of its own for its copy of the log.

    While it drains, sessions are asked to come back, and calls under way have
    ten seconds (INFRAFABRIC_DRAIN_SECONDS) to end. A second signal ends the
    wait; what was acknowledged is kept in any case.

    Data in a format that only another release knows are refused with exit code
    5. When that happens under a running server, it drains and ends with 1.

    When both ports answer it prints `ready grpc=HOST:PORT http=HOST:PORT`. A
    flag goes before the environment (INFRAFABRIC_GRPC and so on), and that
    before the file.
    """
    chosen = settings.load(flags, config)
    from infrafabric_server.main import serve as start

    # A journal gets a line of the log; a person at a terminal a line to read.
    raise typer.Exit(start(chosen, _say_why if sys.stderr.isatty() else None))


def _say_why(reason: str) -> None:
    complain(f"not started: {reason}")
