"""Compiles one module and describes it."""

import os
from typing import Any

from wasmtime import FuncType, Module, wat2wasm

from infrafabric_server.chassis.sandbox.worker.engine import engine

_BINARY = b"\0asm"


def compile_module(source: bytes, target: int, *, quick: bool) -> dict[str, Any]:
    """Compile a module and write the result to a file.

    Args:
        source: the module, in binary or in text.
        target: descriptor of the file.
        quick: whether to compile in little time, to slower code.

    Returns:
        What the module imports and exports.

    Raises:
        WasmtimeError: it is no valid module, or needs what is turned off.
        MemoryError: there is not enough memory to compile it.
        OSError: the compiled code is larger than it may be.
    """
    if not source.startswith(_BINARY):
        source = bytes(wat2wasm(source))
    module = Module(engine(quick=quick), source)
    image = memoryview(module.serialize())
    while image:
        image = image[os.write(target, image) :]
    return {
        "imports": [[it.module, it.name or ""] for it in module.imports],
        "exports": [it.name for it in module.exports if isinstance(it.type, FuncType)],
        "optimised": not quick,
    }
