"""What a worker says is checked, field by field."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.chassis.sandbox.frames import Broken
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.messages import (
    Layer,
    read_described,
    read_end,
    read_layers,
    read_refusal,
)
from infrafabric_server.chassis.sandbox.outcome import ViolationKind

_LIMITS = Limits(max_memory_mb=1, max_output_bytes=100)
_END: dict[str, Any] = {
    "exit_code": 0,
    "trap": "",
    "diagnostics": "",
    "memory_bytes": 65_536,
    "output_bytes": 10,
    "calls": 0,
    "stop": None,
}
_STOP = {"kind": "output", "detail": "too much", "limit": 1, "observed": 2}

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _bytes(value: object) -> bytes:
    return json.dumps(value).encode()


def test_x2_an_end_is_read_as_it_was_written() -> None:
    end = read_end(_bytes(_END), _LIMITS)
    assert (end.exit_code, end.memory_bytes, end.output_bytes) == (0, 65_536, 10)
    stopped = read_end(_bytes({**_END, "exit_code": None, "stop": _STOP}), _LIMITS)
    assert stopped.violation is not None
    assert (stopped.violation.kind, stopped.violation.observed) == (ViolationKind.OUTPUT, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"exit_code": -1},
        {"exit_code": True},
        {"exit_code": 1 << 32},
        {"exit_code": None},
        {"exit_code": 1.0},
        {"trap": "a trap, too"},
        {"stop": _STOP},
        {"stop": "output"},
        {"memory_bytes": (1 << 20) + 1},
        {"memory_bytes": None},
        {"output_bytes": -5},
        {"output_bytes": 10**400},
        {"diagnostics": "x" * 8_193},
        {"diagnostics": None},
        {"exit_code": None, "stop": {**_STOP, "kind": "escape"}},
        {"exit_code": None, "stop": {**_STOP, "kind": "nonsense"}},
        {"exit_code": None, "stop": {**_STOP, "limit": "1"}},
        {"exit_code": None, "stop": {**_STOP, "detail": 7}},
    ],
    ids=str,
)
def test_x2_an_end_with_one_wrong_field_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Broken):
        read_end(_bytes({**_END, **change}), _LIMITS)


@pytest.mark.parametrize("field", ["trap", "diagnostics", "memory_bytes", "output_bytes"])
def test_x2_an_end_with_a_field_missing_is_refused(field: str) -> None:
    with pytest.raises(Broken):
        read_end(_bytes({name: value for name, value in _END.items() if name != field}), _LIMITS)


def test_x2_text_that_cannot_be_written_is_replaced() -> None:
    end = read_end(json.dumps({**_END, "diagnostics": "\ud800"}).encode(), _LIMITS)
    assert end.diagnostics.encode() == b"?"


@given(st.dictionaries(st.sampled_from(sorted(_END)), _values))
def test_x2_any_end_is_within_the_limits_or_refused(change: dict[str, Any]) -> None:
    try:
        end = read_end(_bytes({**_END, **change}), _LIMITS)
    except Broken:
        return
    assert 0 <= end.memory_bytes <= 1 << 20
    assert 0 <= end.output_bytes <= 100
    assert (end.exit_code is not None) + bool(end.trap or end.violation) == 1


@given(st.binary(max_size=200) | _values.map(_bytes))
def test_x2_any_bytes_are_read_or_refused(body: bytes) -> None:
    for read in (
        read_layers,
        read_described,
        read_refusal,
        lambda it: read_end(it, _LIMITS),
    ):
        try:
            read(body)
        except Broken:
            continue


def test_x2_a_layer_holds_only_when_it_is_said_so() -> None:
    body = _bytes({"layers": [["seccomp", True, "on"], ["user", 1, ""], ["network", "yes", ""]]})
    assert read_layers(body) == (
        Layer("seccomp", held=True, detail="on"),
        Layer("user", held=False, detail=""),
        Layer("network", held=False, detail=""),
    )
