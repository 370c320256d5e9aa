"""The process of a worker, seen from the service."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from infrafabric_server.chassis.sandbox.accounts import Accounts
from infrafabric_server.chassis.sandbox.channel import Channel
from infrafabric_server.chassis.sandbox.frames import Kind, header

# What Python runs; tests put a program in its place that says and does what no worker would.
WORKER = ("-m", "infrafabric_server.chassis.sandbox.worker")


@dataclass(frozen=True)
class Exited:
    """How a process ended.

    Attributes:
        code: its exit code, or minus the signal that killed it.
        cpu_seconds: what it took of the processor in its whole life.
    """

    code: int
    cpu_seconds: float

    @property
    def described(self) -> str:
        """Say it to a person."""
        if self.code >= 0:
            return f"the worker ended with exit code {self.code}"
        return f"the worker was killed by {signal.Signals(-self.code).name}"


class WorkerProcess:
    """A worker's process and the channel to it.

    It inherits the socket and one file, and nothing else: no environment, no folder, no terminal.
    """

    def __init__(self, child: "subprocess.Popen[bytes]", ours: socket.socket) -> None:
        self.channel = Channel(ours)
        self._child = child
        self._killed = False
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[Exited] = self._loop.create_future()
        # The pid of a process that has ended may be given to another; its pidfd never is.
        self._handle = os.pidfd_open(child.pid)
        try:
            self.accounts = Accounts(child.pid)
        except OSError:
            os.close(self._handle)
            raise
        self._loop.add_reader(self._handle, self._reap)

    @classmethod
    def start(cls, file: int, settings: Mapping[str, Any], program: Sequence[str] = WORKER) -> Self:
        """Start a worker.

        It is killed when the thread that called this ends, so call it in the thread of the loop.

        Args:
            file: descriptor of the compiled module, to be read or to be written.
            settings: what the worker is told first.
            program: what Python runs.

        Raises:
            OSError: no process can be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                child = subprocess.Popen(  # noqa: S603  # our own program
                    [sys.executable, "-I", *program, str(theirs.fileno()), str(file)],
                    pass_fds=(theirs.fileno(), file),
                    env={},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        try:
            process = cls(child, ours)
        except OSError:
            child.kill()
            child.wait()
            ours.close()
            raise
        document = json.dumps({**settings, "parent": os.getpid()}).encode()
        # It fits into the socket's buffer, and nothing is in there yet. That a worker ended before
        # it read is heard by whoever waits for its report.
        with suppress(OSError):
            ours.send(header(Kind.SETTINGS, len(document)) + document)
        return process

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended, or been killed."""
        return not self._killed and not self._exited.done()

    def cpu_seconds(self) -> float:
        """Return what it has taken of the processor so far."""
        if self._exited.done():
            return self._exited.result().cpu_seconds
        return self.accounts.cpu_seconds()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if not self._exited.done():
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End it at once; what it was about to say is not heard."""
        self._killed = True
        self.signal(signal.SIGKILL)
        self.channel.close()

    async def exited(self) -> Exited:
        """Wait until it has ended."""
        return await asyncio.shield(self._exited)

    def _reap(self) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        self.accounts.close()
        _, status, used = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        # So that it is not waited for again.
        self._child.returncode = code
        self._exited.set_result(Exited(code, used.ru_utime + used.ru_stime))
