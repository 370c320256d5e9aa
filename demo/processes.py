"""The processes of a run: all of them end with it, however it ends."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

# Seconds that a process has to end after SIGTERM.
GRACE = 5.0

# Reads a pipe that only the supervisor holds open. The pipe's end, even by a SIGKILL of the
# supervisor, ends the whole process group: first politely, then for good.
_WATCHDOG = "trap '' INT TERM; read -r _; kill -TERM 0; sleep 2; kill -KILL 0"


class RunFailedError(Exception):
    """The run cannot go on; the message says why and where to look."""


class Process:
    """One process that was started.

    Attributes:
        name: what it is, in messages and as the name of its log.
        expected_to_end: whether its end is no failure.
    """

    def __init__(self, name: str, log: Path, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log = log
        self.expected_to_end = False
        self._process = process

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def stdout(self) -> asyncio.StreamReader:
        """Standard output, of a process that was started with a pipe there."""
        assert self._process.stdout is not None
        return self._process.stdout

    def kill(self) -> None:
        """End it as a crash does."""
        self.expected_to_end = True
        self._process.kill()

    async def stop(self) -> int:
        """Ask it to end, kill it when it does not; return its exit code."""
        self.expected_to_end = True
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(GRACE):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    async def wait(self) -> int:
        """Return its exit code when it ends."""
        return await self._process.wait()

    async def watch(self) -> None:
        """Return when it ends as expected; raises RunFailedError when it ends by itself."""
        code = await self._process.wait()
        if not self.expected_to_end:
            raise RunFailedError(
                f"{self.name} ended with code {code} in the middle of the run; see {self.log}"
            )


class Processes:
    """Starts processes in one group, and ends them all when it is left.

    Args:
        logs: folder for what they write to standard error.
        environment: their environment.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = dict(environment)
        self._watchdog: asyncio.subprocess.Process | None = None
        self._started: list[Process] = []

    async def __aenter__(self) -> Self:
        self._watchdog = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", _WATCHDOG),
            stdin=asyncio.subprocess.PIPE,
            process_group=0,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._watchdog is not None
        try:
            await asyncio.gather(*(process.stop() for process in self._started))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._watchdog.pid, signal.SIGKILL)
            await self._watchdog.wait()

    async def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        stdout: IO[bytes] | int = asyncio.subprocess.DEVNULL,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a process.

        Args:
            name: what it is; its standard error goes to `NAME.log`.
            command: the program and its arguments.
            stdout: where its standard output goes; a pipe can be read as `stdout`.
            environment: variables to add.
        """
        assert self._watchdog is not None
        log = self._logs / f"{name}.log"
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**self._environment, **(environment or {})},
                process_group=self._watchdog.pid,
            )
        started = Process(name, log, process)
        self._started.append(started)
        return started

    async def run(self, name: str, command: Sequence[str | Path]) -> str:
        """Run a command to its end and return what it printed; raises RunFailedError."""
        process = await self.start(name, command, stdout=asyncio.subprocess.PIPE)
        process.expected_to_end = True
        printed = (await process.stdout.read()).decode()
        code = await process.wait()
        if code:
            raise RunFailedError(f"{name} ended with code {code}; see {process.log}\n{printed}")
        return printed
