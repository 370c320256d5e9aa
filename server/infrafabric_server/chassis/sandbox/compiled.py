"""A module that has been compiled, and why others were not."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from infrafabric_server.chassis.sandbox.messages import Described

_WASI = "wasi_snapshot_preview1"
_FABRIC = frozenset({"log", "call"})


class Refusal(StrEnum):
    """Why a module is not taken."""

    SIZE = "size"
    INVALID = "invalid"
    IMPORTS = "imports"
    EXPORTS = "exports"
    TIME = "time"
    MEMORY = "memory"
    CRASH = "crash"


class ModuleRefused(Exception):
    """A module cannot be run in the box.

    Args:
        kind: of reason.
        detail: what is wrong, and what would be right.
    """

    def __init__(self, kind: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class ModuleKind(StrEnum):
    """How a module is given its task."""

    WASI_COMMAND = "wasi_command"
    CORE = "core"


@dataclass(frozen=True)
class CompiledModule:
    """A module that is ready to run.

    Attributes:
        digest: SHA-256 of the module as it was given, in hexadecimal digits.
        path: the compiled code, in a folder that is private to the service.
        kind: how it is given its task.
        host_calls: which of `log` and `call` it imports.
        optimised: whether there was time to; else it is about half as fast.
    """

    digest: str
    path: Path
    kind: ModuleKind
    host_calls: frozenset[str]
    optimised: bool


def check(described: Described) -> tuple[ModuleKind, frozenset[str]]:
    """Return what a module is and which host calls it imports.

    Args:
        described: its imports and exports.

    Raises:
        ModuleRefused: it needs what is not there, or does not offer what is called.
    """
    calls = frozenset(name for module, name in described.imports if module == "ifc")
    for module, name in described.imports:
        if module != _WASI and not (module == "ifc" and name in _FABRIC):
            raise ModuleRefused(
                Refusal.IMPORTS,
                f"the module imports {module}.{name}; there are only {_WASI}, ifc.log and ifc.call",
            )
    if "call" in calls and "ifc_alloc" not in described.exports:
        raise ModuleRefused(
            Refusal.EXPORTS, "the module imports ifc.call, but exports no ifc_alloc for the answers"
        )
    if "_start" in described.exports:
        return ModuleKind.WASI_COMMAND, calls
    if {"ifc_run", "ifc_alloc"} <= described.exports:
        return ModuleKind.CORE, calls
    raise ModuleRefused(
        Refusal.EXPORTS,
        "the module exports neither the function _start, as a WASI command does, nor the functions "
        "ifc_run and ifc_alloc",
    )
