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
from demo.fabric import Fabric
from demo.picture import News, Picture
from demo.plan import FLEET_FILE, Fleet
from demo.plants import Plant
from demo.processes import Processes, RunFailedError
from demo.supervisor import Supervisor
from demo.view import LiveView, PlainView, View
from infrafabric import FabricError

# How long a session may be silent: short, so that the killed session's task is soon free.
LEASE_SECONDS = 3.0

# To start etcd, NATS and two servers more, and to lose one of them, comes on top.
_CLUSTER_SECONDS = 60.0

# A run is given up after so many seconds, beside its work: to start a dozen programs and stop
# them again takes a quarter of it on two free cores.
_LIMIT_SECONDS = 60.0
# And after so many hours of simulated work: the longest path of the board and the story, twice.
_LIMIT_HOURS = 40.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is told.

    `folder` None means one of its own under `runs/`; `cluster` asks for several servers, of which
    one is killed.
    """

    second_per_hour: float
    keep: bool
    plain: bool
    folder: Path | None
    plant: Plant | None
    cluster: bool = False


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
            start = Fabric.distributed if options.cluster else Fabric.embedded
            fabric = await start(processes, folder / "server", LEASE_SECONDS)
            await _run(options, processes, fabric, folder, console)
            if not options.keep:
                await fabric.stop()
                await _verify(processes, fabric, console)
        except (RunFailedError, FabricError) as error:
            raise RunFailedError(f"{error}\nlogs are in {_short(folder / 'logs')}") from error
        code = await _judge(processes, folder, console)
        console.print(f"took {time.monotonic() - begin:.0f} s; evidence in {_short(folder)}")
        if options.keep:
            await _keep(fabric, console)
    return code


async def _run(
    options: Options, processes: Processes, fabric: Fabric, folder: Path, console: Console
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
        fabric=fabric,
        folder=folder,
        second_per_hour=options.second_per_hour,
        picture=picture,
        view=view,
        plant=options.plant,
    )
    limit = _LIMIT_SECONDS + _LIMIT_HOURS * options.second_per_hour
    limit += _CLUSTER_SECONDS if options.cluster else 0
    try:
        with view.shown():
            async with asyncio.timeout(limit):
                await supervisor.run()
    except TimeoutError:
        raise RunFailedError(f"given up after {limit:g} s while {supervisor.stage}") from None
    except BaseExceptionGroup as group:
        raise _first(group) from None


async def _verify(processes: Processes, fabric: Fabric, console: Console) -> None:
    """Verify the log of servers that have ended, by their files alone."""
    for replica in fabric.replicas:
        words = ("witness", "verify", "--data", str(_short(replica.server.data)))
        name = f"witness-verify-{replica.name}"
        said = await processes.run(name, [programs.INFRAFABRIC, *words])
        console.print(f"\n$ infrafabric {' '.join(words)}\n{said.strip()}", soft_wrap=True)


async def _judge(processes: Processes, folder: Path, console: Console) -> int:
    """Have the run judged by a program of its own, and show what it says."""
    process = await processes.start(
        "check", [sys.executable, "-m", "demo.check", folder], stdout=asyncio.subprocess.PIPE
    )
    said = (await process.stdout.read()).decode()
    console.print(f"\n{said}", markup=False, soft_wrap=True)
    return await process.wait()


async def _keep(fabric: Fabric, console: Console) -> None:
    console.print(
        f"the server stays up at grpc {fabric.grpc} and http {fabric.http}; Ctrl-C ends it"
    )
    # Ctrl-C is how this is meant to end: the run itself keeps its exit status.
    with suppress(asyncio.CancelledError):
        await fabric.replicas[-1].server.process.wait()
    await fabric.stop()


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
