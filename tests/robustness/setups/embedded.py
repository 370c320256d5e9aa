"""One server with its own store."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.server import ServerProcess
from tests.integration.fire.disk import Disk, failing_disk, full_disk, namespaces_permitted
from tests.robustness.faults.clock import ClockJump, clock_wrapper
from tests.robustness.faults.disk import SpoiledDisk
from tests.robustness.faults.fault import Fault
from tests.robustness.faults.network import network_faults
from tests.robustness.faults.servers import server_faults
from tests.robustness.history import Recorder
from tests.robustness.setups.server import TIMES, Server

# The data of some minutes of traffic, several times over.
_DISK = 192 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Embedded:
    """The set-up; see `Setup`."""

    servers: Sequence[Server]
    faults: dict[str, Fault]


@asynccontextmanager
async def embedded(folder: Path, recorder: Recorder) -> AsyncIterator[Embedded]:
    """Run one server on SQLite.

    Args:
        folder: for its data and its log; it must exist.
        recorder: told when the server dies.
    """
    async with AsyncExitStack() as stack:
        disk: Disk = await stack.enter_async_context(
            full_disk(folder, _DISK) if namespaces_permitted() else failing_disk()
        )
        clock = clock_wrapper(folder / "clock")
        environment = {**TIMES, **(clock.environment if clock else {})}
        process = ServerProcess(folder, environment=environment, wrapper=disk.wrapper)
        server = await stack.enter_async_context(Server("server-0", process, recorder))
        faults = {
            **server_faults([server]),
            **network_faults([server]),
            "disk-full": SpoiledDisk([server], disk),
        }
        if clock:
            faults["clock-jump"] = ClockJump([clock])
        yield Embedded([server], faults)
