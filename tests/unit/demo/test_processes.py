"""Whatever ends a run, its processes end too."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from demo.processes import Processes, RunFailedError

SLEEP = ["/bin/sh", "-c", "echo up; exec sleep 1000"]

# Starts a process as the demonstration does, says its id, and then waits for ever.
RUN = """
import asyncio, os, pathlib, sys
from demo.processes import Processes

async def main():
    async with Processes(pathlib.Path(sys.argv[1]), os.environ) as processes:
        process = await processes.start("sleep", ["sleep", "1000"])
        print(process.pid, flush=True)
        await process.wait()

asyncio.run(main())
"""


class Watched:
    """Another program's process, whose end can be awaited."""

    def __init__(self, pid: int) -> None:
        self._handle = os.pidfd_open(pid)

    async def gone(self) -> None:
        """Return when it has ended."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._handle, ended.set)
        try:
            async with asyncio.timeout(10):
                await ended.wait()
        finally:
            loop.remove_reader(self._handle)
            os.close(self._handle)


async def test_all_processes_end_when_the_run_is_left(tmp_path: Path) -> None:
    async with Processes(tmp_path, os.environ) as processes:
        process = await processes.start("sleep", SLEEP, stdout=asyncio.subprocess.PIPE)
        assert await process.stdout.readline() == b"up\n"
        watched = Watched(process.pid)
    await watched.gone()


async def test_a_process_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.processes.GRACE", 0.1)
    stubborn = ["/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"]
    async with Processes(tmp_path, os.environ) as processes:
        process = await processes.start("stubborn", stubborn, stdout=asyncio.subprocess.PIPE)
        await process.stdout.readline()
        assert await process.stop() == -signal.SIGKILL


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_no_process_outlives_its_supervisor(how: signal.Signals, tmp_path: Path) -> None:
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert supervisor.stdout is not None
    watched = Watched(int(await supervisor.stdout.readline()))
    supervisor.send_signal(how)
    await supervisor.wait()
    await watched.gone()


async def test_an_end_in_the_middle_of_the_run_is_a_failure(tmp_path: Path) -> None:
    async with Processes(tmp_path, os.environ) as processes:
        process = await processes.start("short", ["/bin/sh", "-c", "exit 3"])
        with pytest.raises(RunFailedError, match=r"short ended with code 3.*short\.log"):
            await process.watch()


async def test_a_killed_process_was_expected_to_end(tmp_path: Path) -> None:
    async with Processes(tmp_path, os.environ) as processes:
        process = await processes.start("sleep", SLEEP)
        process.kill()
        await process.watch()


async def test_a_command_that_fails_says_so_with_what_it_printed(tmp_path: Path) -> None:
    async with Processes(tmp_path, os.environ) as processes:
        assert await processes.run("good", ["echo", "fine"]) == "fine\n"
        with pytest.raises(RunFailedError, match=r"(?s)bad ended with code 4.*why"):
            await processes.run("bad", ["/bin/sh", "-c", "echo why; exit 4"])
