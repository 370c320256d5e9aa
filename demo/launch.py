"""Sets a run up, lets it happen, has it judged, and leaves nothing running."""

import asyncio
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from demo import programs
from demo.picture import News, Picture
from demo.plan import FLEET_FILE, Fleet
from demo.plants import Plant
from demo.processes import Processes, RunFailedError
from demo.server import Server, start_server
from demo.supervisor import Supervisor
from demo.view import LiveView, PlainView, View
from infrafabric import FabricError

# How long a session may be silent: short, so that the killed session's task is soon free.
LEASE_SECONDS = 3.0

# A run is given up after so many seconds, beside its work: to start a dozen programs and stop
# them again takes a quarter of it on two free cores.
_LIMIT_SECONDS = 60.0
# And after so many hours of simulated work: the longest path of the board and the story, twice.
_LIMIT_HOURS = 40.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is told; `folder` None means one of its own under `runs/`."""

    second_per_hour: float
    keep: bool
    plain: bool
    folder: Path | None
    plant: Plant | None


class Output(Console):
    """Where a run is shown; that nobody reads it any more is a failure like any other."""

    def on_broken_pipe(self) -> None:
        """Raise RunFailedError instead of ending the process from within some task of it."""
        with suppress(SystemExit):
            super().on_broken_pipe()
        raise RunFailedError("nobody reads the output any more")


async def launch(options: Options) -> int:
    """Run the demonstration.

    Returns:
        The judge's exit status: 0 when every invariant holds, else 1.

    Raises:
        RunFailedError: the run did not come to its end.
    """
    begin = time.monotonic()
    folder = _new_folder(options.folder)
    console = Output(highlight=False)
    console.print(f"InfraFabric demonstration; what happens is kept in {_short(folder)}")
    async with Processes(folder / "logs", os.environ) as processes:
        try:
            server = await start_server(processes, folder / "server", lease_seconds=LEASE_SECONDS)
            await _run(options, processes, server, folder, console)
            if not options.keep:
                await server.process.stop()
                await _verify(processes, server, console)
        except (RunFailedError, FabricError) as error:
            raise RunFailedError(f"{error}\nlogs are in {_short(folder / 'logs')}") from error
        code = await _judge(processes, folder, console)
        console.print(f"took {time.monotonic() - begin:.0f} s; evidence in {_short(folder)}")
        if options.keep:
            await _keep(server, console)
    return code


async def _run(
    options: Options, processes: Processes, server: Server, folder: Path, console: Console
) -> None:
    picture = Picture(session.id for session in Fleet.read(FLEET_FILE).sessions)
    scale = f"work is simulated: 1 h = {options.second_per_hour:g} s"
    view: View = PlainView(console)
    if console.is_terminal and not options.plain:
        view = LiveView(console, picture, scale)
    else:
        view.tell(News(scale))
    supervisor = Supervisor(
        processes,
        server=server,
        folder=folder,
        second_per_hour=options.second_per_hour,
        picture=picture,
        view=view,
        plant=options.plant,
    )
    limit = _LIMIT_SECONDS + _LIMIT_HOURS * options.second_per_hour
    try:
        with view.shown():
            async with asyncio.timeout(limit):
                await supervisor.run()
    except TimeoutError:
        raise RunFailedError(f"given up after {limit:g} s while {supervisor.stage}") from None
    except BaseExceptionGroup as group:
        raise _first(group) from None


async def _verify(processes: Processes, server: Server, console: Console) -> None:
    """Verify the log of a server that has ended, by its files alone."""
    words = ("witness", "verify", "--data", str(_short(server.data)))
    said = await processes.run("witness-verify-offline", [programs.INFRAFABRIC, *words])
    console.print(f"\n$ infrafabric {' '.join(words)}\n{said.strip()}", soft_wrap=True)


async def _judge(processes: Processes, folder: Path, console: Console) -> int:
    """Have the run judged by a program of its own, and show what it says."""
    process = await processes.start(
        "check", [sys.executable, "-m", "demo.check", folder], stdout=asyncio.subprocess.PIPE
    )
    said = (await process.stdout.read()).decode()
    console.print(f"\n{said}", markup=False, soft_wrap=True)
    return await process.wait()


async def _keep(server: Server, console: Console) -> None:
    console.print(
        f"the server stays up at grpc {server.grpc} and http {server.http}; Ctrl-C ends it"
    )
    # Ctrl-C is how this is meant to end: the run itself keeps its exit status.
    with suppress(asyncio.CancelledError):
        await server.process.wait()


def _new_folder(wanted: Path | None) -> Path:
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = wanted or programs.ROOT / "runs" / name
    try:
        for part in ("journals", "logs", "server"):
            (folder / part).mkdir(parents=True)
    except FileExistsError as error:
        raise RunFailedError(f"{folder} is there already: name a new folder") from error
    return folder


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
