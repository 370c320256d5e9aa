"""What guests write is one JSON object that the contract can carry, or a reason."""

import json

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.chassis.results import MAX_DEPTH, NoResultError, read_result
from infrafabric_server.edge.struct_json import json_to_struct, struct_to_json

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_VALUES | st.dictionaries(st.text(), _VALUES))
def test_x1_what_is_taken_goes_over_the_wire_as_it_is(value: object) -> None:
    try:
        text = read_result(json.dumps(value).encode())
    except NoResultError:
        return
    struct = Struct()
    json_to_struct(text, struct)
    assert struct_to_json("result", struct) == text


@given(st.binary(max_size=200))
def test_x7_any_output_is_a_result_or_a_reason(output: bytes) -> None:
    reason = ""
    try:
        result = json.loads(read_result(output))
    except NoResultError as error:
        result, reason = None, str(error)
    assert isinstance(result, dict) or "the output" in reason


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (b"[1]", "a JSON array, and must be an object"),
        (b"1", "a JSON number, and must be an object"),
        (b"1.5", "a JSON number, and must be an object"),
        (b"true", "a JSON boolean, and must be an object"),
        (b"null", "a JSON null, and must be an object"),
        (b'"a"', "a JSON string, and must be an object"),
        (b"{", "no JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 400 + b"}", "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too large"),
        (b'{"a": [' + b"1," * 100_000 + b"1]}", "more than 262144 bytes as a message"),
        (b'{"a": "' + "ü".encode() * 140_000 + b'"}', "more than 262144 bytes as a message"),
        (rb'{"a": "\ud800"}', "no Unicode"),
        (b'{"a": "\xff"}', "no JSON"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "deeper than 32"),
        (b"[" * 100_000, "deeper than 32"),
    ],
)
def test_what_is_no_result_says_why(output: bytes, reason: str) -> None:
    with pytest.raises(NoResultError, match=reason):
        read_result(output)


def test_an_empty_output_is_an_empty_result() -> None:
    assert read_result(b" \n") == "{}"


def test_the_deepest_result_is_taken() -> None:
    deep = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert read_result(deep) == deep.decode()
