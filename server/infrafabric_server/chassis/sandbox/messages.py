"""Reads what a worker says and trusts none of it: each field must be there, and be valid."""

import json
from dataclasses import dataclass
from typing import Any

from infrafabric_server.chassis.sandbox.frames import Broken
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.outcome import Violation, ViolationKind

_TEXT_CHARACTERS = 8_192
_MOST_NAMES = 10_000
_MOST_LAYERS = 16
# What a worker itself can tell; the rest is seen from outside.
_TOLD = frozenset(
    {
        ViolationKind.MEMORY,
        ViolationKind.TABLE,
        ViolationKind.STACK,
        ViolationKind.OUTPUT,
        ViolationKind.API_CALLS,
    }
)


@dataclass(frozen=True)
class Layer:
    """One of the layers around a worker.

    Attributes:
        name: as a policy may demand it.
        held: whether it is on.
        detail: what it does here, or why it is not on.
    """

    name: str
    held: bool
    detail: str


@dataclass(frozen=True)
class End:
    """How a guest ended, as its worker says."""

    exit_code: int | None
    trap: str
    diagnostics: str
    memory_bytes: int
    output_bytes: int
    violation: Violation | None


@dataclass(frozen=True)
class Described:
    """What a module imports, as module and name; which functions it exports; how it was made."""

    imports: tuple[tuple[str, str], ...]
    exports: frozenset[str]
    optimised: bool


def read_layers(body: bytes | bytearray) -> tuple[Layer, ...]:
    """Return the layers that a worker reports before anything foreign is in it.

    Raises:
        Broken: it is no such report.
    """
    rows = _list(_object(body).get("layers"), _MOST_LAYERS)
    layers = []
    for row in rows:
        name, held, detail = _row(row, 3)
        layers.append(Layer(_text(name), held is True, _text(detail)))
    return tuple(layers)


def read_end(body: bytes | bytearray, limits: Limits) -> End:
    """Return how a guest ended.

    Args:
        body: of the frame.
        limits: what it may take: whoever says that it took more lies.

    Raises:
        Broken: it is no such report.
    """
    document = _object(body)
    code = document.get("exit_code")
    stop = document.get("stop")
    most = limits.max_memory_mb << 20
    end = End(
        exit_code=None if code is None else _number(code, (1 << 32) - 1),
        trap=_text(document.get("trap")),
        diagnostics=_text(document.get("diagnostics")),
        memory_bytes=_number(document.get("memory_bytes"), most),
        # A write that goes beyond the limit is counted before it is refused.
        output_bytes=min(_number(document.get("output_bytes"), 1 << 40), limits.max_output_bytes),
        violation=None if stop is None else _violation(stop),
    )
    if (end.exit_code is None) == (end.violation is None and not end.trap):
        raise Broken("a task ends in one way: with an exit code, a trap or a violation")
    return end


def read_described(body: bytes | bytearray) -> Described:
    """Return what a compiler says of a module.

    Raises:
        Broken: it is no such report.
    """
    document = _object(body)
    imports = []
    for row in _list(document.get("imports"), _MOST_NAMES):
        module, name = _row(row, 2)
        imports.append((_text(module), _text(name)))
    exports = frozenset(_text(it) for it in _list(document.get("exports"), _MOST_NAMES))
    return Described(tuple(imports), exports, document.get("optimised") is True)


def read_refusal(body: bytes | bytearray) -> tuple[str, str]:
    """Return why a compiler refused a module: a word and a text.

    Raises:
        Broken: it does not say.
    """
    document = _object(body)
    return _text(document.get("kind")), _text(document.get("detail"))


def _violation(value: Any) -> Violation:
    if not isinstance(value, dict):
        raise Broken("a violation is an object")
    kind = next((it for it in _TOLD if it == value.get("kind")), None)
    if kind is None:
        raise Broken("a worker cannot tell of such a violation")
    limit, observed = (
        None if value.get(it) is None else _number(value[it], (1 << 62))
        for it in ("limit", "observed")
    )
    return Violation(kind, _text(value.get("detail")), limit, observed)


def _object(body: bytes | bytearray) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Broken("a document that is not JSON") from error
    if not isinstance(value, dict):
        raise Broken("a document that is not an object")
    return value


def _list(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise Broken(f"expected a list of at most {most}")
    return value


def _row(value: Any, size: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != size:
        raise Broken(f"expected a list of {size}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_CHARACTERS:
        raise Broken(f"expected a text of at most {_TEXT_CHARACTERS} characters")
    # Half a pair of surrogates is JSON, and can be written nowhere.
    return value.encode(errors="replace").decode()


def _number(value: Any, most: int) -> int:
    # True is an int, too.
    if type(value) is not int or not 0 <= value <= most:
        raise Broken(f"expected a whole number from 0 to {most}")
    return value
