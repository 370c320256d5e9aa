import json
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest
from infrafabric_server.edge.struct_json import (
    MAX_DEPTH,
    json_to_struct,
    object_to_json,
    struct_to_json,
)
from infrafabric_server.errors import InvalidField
from infrafabric_server.limits import MAX_PAYLOAD_BYTES

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)
objects = st.dictionaries(texts, values)


def nested(depth: int, *, lists: bool) -> dict[str, Any]:
    """Return an object with `depth` levels of objects and lists."""
    value: Any = {} if not lists else []
    for _ in range(depth - 2):
        value = [value] if lists else {"a": value}
    return {"a": value}


@given(objects)
def test_objects_come_back(value: dict[str, Any]) -> None:
    text = object_to_json("input", value)
    assert json.loads(text) == value
    struct = Struct()
    json_to_struct(text, struct)
    assert struct_to_json("input", struct) == text


def test_the_text_is_compact_sorted_and_has_whole_numbers() -> None:
    struct = Struct()
    struct.update({"b": 2, "a": [1.5, -0.0, None, True], "é": "☃"})
    assert struct_to_json("input", struct) == '{"a":[1.5,0,null,true],"b":2,"é":"☃"}'
    assert struct_to_json("input", Struct()) == "{}"


def test_an_empty_text_is_an_empty_object() -> None:
    struct = Struct()
    json_to_struct("", struct)
    assert struct == Struct()


@pytest.mark.parametrize("lists", [False, True])
def test_the_deepest_object_is_accepted_and_survives_the_wire(lists: bool) -> None:
    text = object_to_json("input", nested(MAX_DEPTH, lists=lists))
    request = OpenSessionRequest()
    json_to_struct(text, request.frames.add().create.tasks.add().input)
    again = OpenSessionRequest.FromString(request.SerializeToString())
    assert struct_to_json("input", again.frames[0].create.tasks[0].input) == text


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 500, 5000])
def test_deeper_objects_are_refused(depth: int, lists: bool) -> None:
    with pytest.raises(InvalidField, match="input: must be"):
        object_to_json("input", nested(depth, lists=lists))


def test_the_largest_object_is_accepted_and_no_larger_one() -> None:
    # As JSON, `{"a":"…"}`; on the wire it is two bytes longer.
    fits = MAX_PAYLOAD_BYTES - 20
    assert len(object_to_json("input", {"a": "x" * fits})) == fits + 8
    for value in ("x" * MAX_PAYLOAD_BYTES, "☃" * (fits // 3 + 10), "\x01" * (fits // 6 + 10)):
        with pytest.raises(InvalidField, match="at most 262144 bytes"):
            object_to_json("input", {"a": value})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_cannot_write_are_refused(number: float) -> None:
    struct = Struct()
    struct.fields["deep"].list_value.values.add().number_value = number
    with pytest.raises(InvalidField, match="must not hold NaN or an infinity"):
        struct_to_json("result", struct)
    with pytest.raises(InvalidField, match="must not hold NaN or an infinity"):
        object_to_json("result", {"deep": [number]})


@pytest.mark.parametrize("value", [10**400, "\ud800", object(), {1: 2}, b"bytes"])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(InvalidField, match="input: must be JSON"):
        object_to_json("input", {"a": value})


def test_a_value_without_a_kind_is_refused() -> None:
    struct = Struct(fields={"a": Value()})
    with pytest.raises(InvalidField, match="without a kind"):
        struct_to_json("input", struct)
