"""A real server for tests: `infrafabric serve` as its own process, on ports that are free.

For example::

    async with ServerProcess(tmp_path) as server:
        client = Client(server.grpc)
        await server.kill()       # as a crash: SIGKILL
        await server.start()      # the same ports, the same data

The server's log (standard error) goes to `server.log` in the data's parent folder, over all starts.
It stands on a store of its own, or on etcd and NATS when the environment says so (`setups`).
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.harness import setups
from tests.harness.ports import free_port

COMMAND = Path(sys.executable).parent / "infrafabric"

# A start takes about a second on a free machine; the tests share two cores with each other.
START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0


class ServerFailedError(Exception):
    """The server did not start, or did not end as it should; the text ends with its log."""


class ServerProcess:
    """One server process that can be stopped, killed and started again.

    Args:
        directory: where the data (`data/`) and the log (`server.log`) go; it must exist.
        arguments: further arguments of `infrafabric serve`.
        environment: variables to add to the tests' own.
        wrapper: command that starts the server in its own place, such as `nsenter ... --`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.data = directory / "data"
        self.log_path = directory / "server.log"
        self._wrapper = tuple(wrapper)
        self._environment = {**os.environ, **(environment or {})}
        self._arguments = (*setups.arguments(self._environment, directory), *arguments)
        self._grpc = f"127.0.0.1:{free_port()}"
        self._http = f"127.0.0.1:{free_port()}"
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self.running:
            await self.kill()

    @property
    def grpc(self) -> str:
        """Address of the gRPC port, as `host:port`; kept over restarts."""
        return self._grpc

    @property
    def http(self) -> str:
        """Address of the HTTP port, as `host:port`; kept over restarts."""
        return self._http

    @property
    def running(self) -> bool:
        """Whether the process lives (a paused one does)."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Process id; raises when the server was not started."""
        return self._current().pid

    @property
    def log(self) -> str:
        """All that the server wrote to standard error, over all starts."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    async def start(self) -> None:
        """Start the server and return when both ports answer.

        Raises:
            ServerFailedError: it ended before it was ready, or took too long.
        """
        if self.running:
            raise ServerFailedError("the server is running already: stop or kill it first")
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._wrapper,
                *(COMMAND, "serve"),
                *("--grpc", self._grpc, "--http", self._http, "--data", self.data),
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment,
            )
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._read_ready(self._process)
        except TimeoutError:
            await self.kill()
            raise self._failed(f"it was not ready after {START_TIMEOUT} s") from None
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> int:
        """Ask the server to drain and end (SIGTERM); return its exit code.

        Raises:
            ServerFailedError: it did not end in time; it is killed then.
        """
        self.signal(signal.SIGTERM)
        return await self.ended()

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self._current().send_signal(number)

    async def ended(self) -> int:
        """Return the exit code of a server that was asked to end.

        Raises:
            ServerFailedError: it did not end in time; it is killed then.
        """
        process = self._current()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.communicate()
        except TimeoutError:
            await self.kill()
            raise self._failed(f"it did not end {STOP_TIMEOUT} s after it was asked to") from None
        return await process.wait()

    async def kill(self) -> None:
        """End the server as a crash does (SIGKILL), and wait until it is gone."""
        process = self._current()
        if process.returncode is None:
            process.kill()
        await process.communicate()

    async def restart(self) -> None:
        """Stop the server if it runs, and start it on the same ports and data."""
        if self.running:
            await self.stop()
        await self.start()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): its connections stay open and silent."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self.signal(signal.SIGCONT)

    def _current(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise ServerFailedError("the server was not started")
        return self._process

    async def _read_ready(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            word, _, rest = line.decode().strip().partition(" ")
            if word == "ready":
                addresses = dict(part.split("=", 1) for part in rest.split())
                self._grpc, self._http = addresses["grpc"], addresses["http"]
                return
        raise self._failed(f"it ended with code {await process.wait()} before it was ready")

    def _failed(self, what: str) -> ServerFailedError:
        return ServerFailedError(f"the server failed: {what}; its log ends:\n{self.log[-4000:]}")
