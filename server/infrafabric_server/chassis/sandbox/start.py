"""Starts workers, and hears what layers they are under."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from infrafabric_server.chassis.sandbox.channel import Closed
from infrafabric_server.chassis.sandbox.cpu import CpuShare
from infrafabric_server.chassis.sandbox.frames import Broken, Kind
from infrafabric_server.chassis.sandbox.messages import Layer, read_layers
from infrafabric_server.chassis.sandbox.process import WORKER, WorkerProcess

# A worker takes 0.1 s on a machine with nothing else to do.
_START_SECONDS = 30.0


class StartFailed(Exception):
    """No worker could be started, or it does not have the layers that are demanded."""


def start(file: int, settings: Mapping[str, Any], program: Sequence[str] = WORKER) -> WorkerProcess:
    """Start the process of a worker.

    Args:
        file: descriptor of the compiled module, to be read or to be written.
        settings: what the worker is told first.
        program: what Python runs.

    Raises:
        StartFailed: no process can be started.
    """
    try:
        return WorkerProcess.start(file, settings, program)
    except OSError as error:
        raise StartFailed(f"no worker can be started: {error}") from error


async def reported(process: WorkerProcess, share: CpuShare) -> tuple[Layer, ...]:
    """Wait until a worker is ready, and return the layers that it is under.

    Args:
        process: of the worker.
        share: how it will be kept to its share of a processor.

    Raises:
        StartFailed: it does not become ready.
    """
    try:
        async with asyncio.timeout(_START_SECONDS):
            _, body = await process.channel.read(frozenset({Kind.READY}))
        return (*read_layers(body), Layer("cpu", held=True, detail=share.described))
    except TimeoutError:
        raise StartFailed(f"the worker was not ready within {_START_SECONDS:g} s") from None
    except Broken as error:
        raise StartFailed(f"the worker said what it may not say: {error}") from error
    except Closed:
        process.kill()
        raise StartFailed((await process.exited()).described) from None


def demand(layers: tuple[Layer, ...], demanded: frozenset[str]) -> None:
    """Insist on layers.

    Raises:
        StartFailed: one of them does not hold.
    """
    missing = demanded - {it.name for it in layers if it.held}
    if missing:
        raise StartFailed(f"demanded, but not held on this machine: {', '.join(sorted(missing))}")
