"""Which layers this machine has."""

import os

from infrafabric_server.chassis.sandbox.cpu import CpuShare
from infrafabric_server.chassis.sandbox.messages import Layer
from infrafabric_server.chassis.sandbox.start import reported, start

_MIB = 1 << 20


async def probe_layers(share: CpuShare) -> tuple[Layer, ...]:
    """Return the layers that a worker has here, by starting one.

    Args:
        share: how workers are kept to their share of a processor.

    Raises:
        StartFailed: none can be started.
    """
    # A worker that would compile, as it needs no module; it is under the same layers.
    settings = {
        "compile": True,
        "quick": False,
        "data_bytes": 256 * _MIB,
        "file_bytes": _MIB,
        "cpu_seconds": 1,
    }
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        process = start(nowhere, settings)
    finally:
        os.close(nowhere)
    try:
        return await reported(process, share)
    finally:
        process.kill()
        await process.exited()
