"""The box, in this process: what compiles, what runs, and a host that answers."""

import asyncio
import select
from datetime import timedelta
from os import close, pidfd_open
from pathlib import Path

from infrafabric_server.chassis.sandbox.compiler import Compiler
from infrafabric_server.chassis.sandbox.cpu import cpu_share
from infrafabric_server.chassis.sandbox.host import CallDenied, CallFailed
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.warm_module import WarmModule

# Little enough to be reached at once, and time enough for that on a busy machine.
TIGHT = Limits(
    max_memory_mb=16,
    max_execution_time=timedelta(seconds=20),
    max_output_bytes=100_000,
    max_api_calls_per_second=20,
    clock=True,
)
# By then even the busiest machine has killed a process.
SOON = 20.0


class Host:
    """Grants three calls: one that answers, one that fails, and one that never comes back."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.hanging = asyncio.Event()

    async def log(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)

    async def call(self, name: str, body: bytes) -> bytes:
        """Answer a call."""
        match name:
            case "echo":
                return body[::-1]
            case "fail":
                raise CallFailed("no such key")
            case "hang":
                self.hanging.set()
                await asyncio.Event().wait()
        raise CallDenied(name)


class Box:
    """Compiles into one folder, and runs.

    Args:
        folder: of the compiled modules.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.share = cpu_share()

    async def warm(self, module: bytes, limits: Limits = TIGHT) -> WarmModule:
        """Compile a module; it has no worker yet."""
        # One for each test: a compiler belongs to a loop.
        return WarmModule(await Compiler(self.folder).compile(module), limits, self.share)


def gone(pid: int) -> bool:
    """Wait until a process has ended; tell whether it did so soon."""
    try:
        handle = pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(SOON * 1_000))
    finally:
        close(handle)
