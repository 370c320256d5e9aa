"""The share of a processor that a worker may take: by a cgroup, or else by stopping it in time."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from infrafabric_server.chassis.sandbox.process import WorkerProcess

_WHOLE = 100
_CGROUPS = Path("/sys/fs/cgroup")
# The kernel's own default; a guest waits for at most so long.
_PERIOD_MICROS = 100_000
_OURS = re.compile(r"infrafabric-(\d+)-\d+")
# How far ahead of its share a worker may get before it is stopped.
_LEAD_SECONDS = 0.02
_LOOK_SECONDS = 0.01


class CpuShare(Protocol):
    """Keeps a worker within its share while it runs a task."""

    def attach(self, process: WorkerProcess, percent: int) -> None:
        """Take a worker that has just started, with its share of one core."""
        ...

    def running(self, process: WorkerProcess, percent: int) -> AbstractAsyncContextManager[None]:
        """Return a block in which the worker is kept to its share."""
        ...

    def detach(self, process: WorkerProcess) -> None:
        """Forget a worker that has ended."""
        ...

    @property
    def described(self) -> str:
        """Say how it is done, for a person."""
        ...


def cpu_share() -> CpuShare:
    """Return the best way that this system has."""
    for folder, quota in _candidates():
        with suppress(OSError):
            return CgroupShare(folder, quota)
    return SignalShare()


def _candidates() -> list[tuple[Path, str]]:
    """Return the cgroups that this process is in, with the name of the file for the quota."""
    found = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "cpu" in controllers.split(","):
                found.append((_CGROUPS / controllers / path[1:], "cpu.cfs_quota_us"))
            elif not controllers:
                found.append((_CGROUPS / path[1:], "cpu.max"))
    return found


class CgroupShare:
    """A cgroup for each worker, with a quota for each tenth of a second.

    Args:
        folder: cgroup in which those of the workers are made.
        quota: file of a cgroup with its quota; of version 1 or 2.

    Raises:
        OSError: none can be made there, or it has no such file.
    """

    def __init__(self, folder: Path, quota: str) -> None:
        self._folder = folder
        self._quota = quota
        self._sweep()
        trial = self._of(0)
        trial.mkdir()
        try:
            self._limit(trial, _WHOLE)
        finally:
            trial.rmdir()

    @property
    def described(self) -> str:
        """Say how it is done, for a person."""
        return f"cgroup, {self._quota}"

    def attach(self, process: WorkerProcess, percent: int) -> None:
        """Take a worker that has just started."""
        if percent < _WHOLE:
            cgroup = self._of(process.pid)
            cgroup.mkdir(exist_ok=True)
            self._limit(cgroup, percent)
            (cgroup / "cgroup.procs").write_text(str(process.pid))

    @asynccontextmanager
    async def running(self, process: WorkerProcess, percent: int) -> AsyncIterator[None]:
        """Do nothing: the kernel keeps it to its share."""
        del process, percent
        yield

    def detach(self, process: WorkerProcess) -> None:
        """Remove the cgroup of a worker that has ended."""
        with suppress(OSError):
            self._of(process.pid).rmdir()

    def _of(self, pid: int) -> Path:
        return self._folder / f"infrafabric-{os.getpid()}-{pid}"

    def _limit(self, cgroup: Path, percent: int) -> None:
        micros = _PERIOD_MICROS * percent // _WHOLE
        text = f"{micros} {_PERIOD_MICROS}" if self._quota == "cpu.max" else str(micros)
        # Not made when it is not there: then this is a folder, and no cgroup with this controller.
        with (cgroup / self._quota).open("r+") as file:
            file.write(text)

    def _sweep(self) -> None:
        # A service that was killed could not remove its own.
        for cgroup in self._folder.glob("infrafabric-*"):
            match = _OURS.fullmatch(cgroup.name)
            if match and not Path("/proc", match[1]).exists():
                with suppress(OSError):
                    cgroup.rmdir()


class SignalShare:
    """Stops a worker that is ahead of its share, and lets it go on when it no longer is."""

    @property
    def described(self) -> str:
        """Say how it is done, for a person."""
        return "SIGSTOP and SIGCONT, as no cgroup can be written"

    def attach(self, process: WorkerProcess, percent: int) -> None:
        """Do nothing: it has no task yet."""

    @asynccontextmanager
    async def running(self, process: WorkerProcess, percent: int) -> AsyncIterator[None]:
        """Keep the worker to its share within the block."""
        if percent >= _WHOLE:
            yield
            return
        keeper = asyncio.create_task(_keep(process, percent / _WHOLE))
        try:
            yield
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
            process.signal(signal.SIGCONT)

    def detach(self, process: WorkerProcess) -> None:
        """Do nothing: there is nothing to forget."""


async def _keep(process: WorkerProcess, share: float) -> None:
    loop = asyncio.get_running_loop()
    start, before = loop.time(), process.cpu_seconds()
    while process.alive:
        ahead = process.cpu_seconds() - before - (loop.time() - start) * share
        if ahead > _LEAD_SECONDS:
            process.signal(signal.SIGSTOP)
            await asyncio.sleep(ahead / share)
            process.signal(signal.SIGCONT)
        else:
            await asyncio.sleep(_LOOK_SECONDS)
