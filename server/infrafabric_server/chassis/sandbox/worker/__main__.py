"""A worker: encloses itself, then compiles one module, or runs tasks in one until its end.

It is started with two descriptors: of the socket to the service, and of a file, which is where the
compiled module goes or is.
"""

import os
import sys
from typing import Any

from wasmtime import Module, WasmtimeError

from infrafabric_server.chassis.sandbox.frames import Kind
from infrafabric_server.chassis.sandbox.worker.compiling import NotAModule, compile_module
from infrafabric_server.chassis.sandbox.worker.engine import engine
from infrafabric_server.chassis.sandbox.worker.guest import Guest
from infrafabric_server.chassis.sandbox.worker.layers.order import Amounts, enclose, seal
from infrafabric_server.chassis.sandbox.worker.layers.rlimits import allow_cpu
from infrafabric_server.chassis.sandbox.worker.task import Task, Terms
from infrafabric_server.chassis.sandbox.worker.wire import Wire

_REASON_CHARACTERS = 2_000


def main(socket_descriptor: int, file_descriptor: int) -> None:
    """Serve until the service closes its end.

    Raises:
        Gone: it has.
    """
    wire = Wire(socket_descriptor)
    settings = wire.read_document(Kind.SETTINGS)
    amounts = Amounts(settings["data_bytes"], settings["file_bytes"])
    if settings["compile"]:
        layers = enclose(settings["parent"], amounts)
        wire.write_document(Kind.READY, {"layers": layers})
        _compile(wire, file_descriptor, settings["cpu_seconds"], quick=settings["quick"])
        wire.close()
        return
    own = engine()
    layers = enclose(settings["parent"], amounts, readable=file_descriptor)
    # Read through the descriptor: the folder of the file is closed to this user.
    module = Module.deserialize_file(own, f"/proc/self/fd/{file_descriptor}")
    os.close(file_descriptor)
    terms = Terms(**settings["terms"])
    guest = Guest(own, module, terms)
    seal(layers)
    wire.write_document(Kind.READY, {"layers": layers})
    _serve(wire, guest, terms)


def _compile(wire: Wire, target: int, cpu_seconds: int, *, quick: bool) -> None:
    _, source = wire.read(Kind.MODULE)
    allow_cpu(cpu_seconds)
    try:
        described = compile_module(bytes(source), target, quick=quick)
    except (WasmtimeError, NotAModule) as error:
        _refuse(wire, "invalid", str(error)[:_REASON_CHARACTERS])
    except MemoryError:
        _refuse(wire, "memory", "there is not enough memory to compile the module")
    except OSError:
        _refuse(wire, "size", "the compiled module is larger than it may be")
    else:
        wire.write_document(Kind.COMPILED, described)


def _refuse(wire: Wire, kind: str, detail: str) -> None:
    wire.write_document(Kind.REFUSED, {"kind": kind, "detail": detail})


def _serve(wire: Wire, guest: Guest, terms: Terms) -> None:
    while True:
        _, request = wire.read(Kind.INPUT)
        # The service keeps the time; this is for when it cannot.
        allow_cpu(terms.cpu_seconds)
        task = Task(terms, wire, request)
        end: dict[str, Any] = guest.run(task)
        if end["exit_code"] is not None:
            wire.write(Kind.RESULT, task.output)
        wire.write_document(Kind.END, end)


if __name__ == "__main__":
    status = 1
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
        status = 0
    finally:
        # Whatever happened, nobody could read of it; and the end of the interpreter would make
        # calls that are no longer allowed.
        os._exit(status)
