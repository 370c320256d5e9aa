"""A worker in which somebody else runs: under the same layers, whatever code it is given.

It takes the place of the real worker's program. A task is Python code, and its result the text that
the code leaves in `said`. What the code needs is imported before, as a module already in memory is
all that a worker could use.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable

from infrafabric_server.chassis.sandbox.frames import Kind, header
from infrafabric_server.chassis.sandbox.worker.layers import (
    landlock,
    native,
    privileges,
    rlimits,
    seccomp,
)
from infrafabric_server.chassis.sandbox.worker.layers.order import Amounts, enclose, seal
from infrafabric_server.chassis.sandbox.worker.wire import Wire

_ALONE: dict[str, Callable[[], str]] = {
    "network": privileges.leave_network,
    "user": privileges.drop,
    "rlimits": lambda: rlimits.restrict(200 << 20, 1 << 20),
    "landlock": landlock.restrict,
    "seccomp": lambda: seccomp.restrict(loading=False),
}
_END = {
    "exit_code": 0,
    "trap": "",
    "memory_bytes": 0,
    "output_bytes": 0,
    "calls": 0,
    "diagnostics": "",
    "stop": None,
}


def syscall(number: int, *arguments: int) -> int:
    """Make a system call by its number."""
    return native.call(number, *arguments)


def main() -> None:
    """Enclose this process, with all layers or with the one that the settings name; then obey."""
    wire, file = Wire(int(sys.argv[1])), int(sys.argv[2])
    settings = wire.read_document(Kind.SETTINGS)
    only = settings.get("only")
    if only is None:
        layers = enclose(
            settings["parent"],
            Amounts(settings["data_bytes"], settings["file_bytes"]),
            readable=file,
        )
        os.close(file)
        seal(layers)
    else:
        _ALONE[only]()
        layers = []
    wire.write_document(Kind.READY, {"layers": layers})
    given = {
        "ctypes": ctypes,
        "errno": errno,
        "header": header,
        "json": json,
        "Kind": Kind,
        "mmap": mmap,
        "os": os,
        "parent": settings["parent"],
        "resource": resource,
        "signal": signal,
        "socket": socket,
        "struct": struct,
        "syscall": syscall,
        "threading": threading,
        "time": time,
        "wire": wire,
        "end": _END,
    }
    while True:
        _, code = wire.read(Kind.INPUT)
        names = dict(given)
        try:
            exec(bytes(code).decode(), names)  # noqa: S102  # that is what this worker is for
            said = str(names.get("said", "done"))
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, repr(error))
        except MemoryError:
            said = "MemoryError"
        wire.write(Kind.RESULT, said.encode())
        wire.write_document(Kind.END, _END)


if __name__ == "__main__":
    try:
        main()
    finally:
        # As the real one: the end of the interpreter would make calls that are not allowed.
        os._exit(1)
