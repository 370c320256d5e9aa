"""`infrafabric serve`: starts the server in this process."""

import os
from pathlib import Path
from typing import Annotated

import typer

from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.output import complain
from infrafabric_server.config import ConfigError, Settings


def serve(
    grpc: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="gRPC address, 127.0.0.1:50051 unless given; port 0 picks a free one.",
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="HTTP address, 127.0.0.1:8765 unless given."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the store and the log: infrafabric-data unless given."
        ),
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="KIND", help="Where truth is kept: sqlite.")
    ] = None,
    bus: Annotated[
        str | None, typer.Option(metavar="KIND", help="How news travels: local.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file with settings.")
    ] = None,
) -> None:
    """Start a server; it runs until SIGTERM or Ctrl-C, then drains.

    While it drains, sessions are asked to come back, and calls under way have ten seconds
    (INFRAFABRIC_DRAIN_SECONDS) to end. A second signal ends the wait; what was acknowledged is
    kept in any case.

    When both ports answer it prints `ready grpc=HOST:PORT http=HOST:PORT`. A flag goes before
    the environment (INFRAFABRIC_GRPC and so on), and that before the file.
    """
    flags = {"grpc": grpc, "http": http, "data": data, "store": store, "bus": bus}
    try:
        settings = Settings.load(flags, os.environ, config)
    except ConfigError as error:
        complain(str(error))
        raise typer.Exit(ExitCode.USAGE) from None
    from infrafabric_server.main import serve as start  # noqa: PLC0415  # no other command loads it

    raise typer.Exit(start(settings))
