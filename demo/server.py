"""A server of a run: `infrafabric serve` on free ports."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo import programs
from demo.processes import Process, Processes, RunFailedError

# A start takes about a second on a free machine.
_START_LIMIT = 30.0

_ANY_PORT = "127.0.0.1:0"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready; its addresses are `host:port`."""

    process: Process
    grpc: str
    http: str
    data: Path


async def start_server(
    processes: Processes,
    data: Path,
    *,
    lease_seconds: float,
    name: str = "server",
    grpc: str = _ANY_PORT,
    http: str = _ANY_PORT,
    arguments: Sequence[str] = (),
) -> Server:
    """Start a server and return when both of its ports answer.

    Args:
        processes: where it is started.
        data: folder of its store and log.
        lease_seconds: how long a session may be silent.
        name: of the process.
        grpc: where it listens, as `host:port`.
        http: likewise.
        arguments: further ones of `infrafabric serve`.

    Raises:
        RunFailedError: it ended before, or took too long.
    """
    process = await processes.start(
        name,
        [
            *(programs.INFRAFABRIC, "serve", "--grpc", grpc, "--http", http, "--data", data),
            *arguments,
        ],
        stdout=asyncio.subprocess.PIPE,
        environment={"INFRAFABRIC_LEASE_SECONDS": str(lease_seconds)},
    )
    try:
        async with asyncio.timeout(_START_LIMIT):
            line = (await process.stdout.readline()).decode()
    except TimeoutError:
        line = ""
    word, *addresses = line.split() or [""]
    if word != "ready":
        raise RunFailedError(f"{name} did not become ready; see {process.log}")
    found = dict(address.split("=", 1) for address in addresses)
    return Server(process, found["grpc"], found["http"], data)
