"""Compiles one module and describes it."""

import os
from typing import Any

from wasmtime import FuncType, Module, WasmtimeError, wat2wasm

from infrafabric_server.chassis.sandbox.worker.engine import engine

_BINARY = b"\0asm"
# With what the text form begins: a field, or a comment.
_TEXT = (b"(", b";;")


class NotAModule(ValueError):
    """It is neither WebAssembly nor its text form; the message ends with the parser's words."""


def compile_module(source: bytes, target: int, *, quick: bool) -> dict[str, Any]:
    """Compile a module and write the result to a file.

    Args:
        source: the module, in binary or in text.
        target: descriptor of the file.
        quick: whether to compile in little time, to slower code.

    Returns:
        What the module imports and exports.

    Raises:
        NotAModule: it is something else altogether.
        WasmtimeError: it is no valid module, or needs what is turned off.
        MemoryError: there is not enough memory to compile it.
        OSError: the compiled code is larger than it may be.
    """
    if not source.startswith(_BINARY):
        source = _binary(source)
    module = Module(engine(quick=quick), source)
    image = memoryview(module.serialize())
    while image:
        image = image[os.write(target, image) :]
    return {
        "imports": [[it.module, it.name or ""] for it in module.imports],
        "exports": [it.name for it in module.exports if isinstance(it.type, FuncType)],
        "optimised": not quick,
    }


def _binary(text: bytes) -> bytes:
    try:
        return bytes(wat2wasm(text))
    except WasmtimeError as error:
        if text.lstrip().startswith(_TEXT):
            raise
        told = f"the module is neither WebAssembly nor its text form: {error}"
        raise NotAModule(told) from error
