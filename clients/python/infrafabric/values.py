"""Task input and results: Python dictionaries on one side, protobuf Structs on the other."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2

# Struct numbers are doubles: whole numbers up to here arrive as they were sent.
_MAX_EXACT = 2**53


def to_struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Return a Struct with the same content.

    Args:
        values: what JSON can say: text, numbers, booleans, None, lists and mappings. Whole
            numbers are exact up to 2^53.

    Raises:
        ValueError: a value is of another type; the message names it.
    """
    struct = struct_pb2.Struct()
    try:
        json_format.ParseDict(dict(values), struct)
    except json_format.ParseError as error:
        raise ValueError(f"not a JSON value: {error}") from error
    return struct


def from_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Return the content as a dictionary by name; numbers without a fraction become `int`.

    Args:
        struct: what came.
    """
    whole: dict[str, Any] = _with_integers(json_format.MessageToDict(struct))
    return whole


def _with_integers(value: Any) -> Any:
    match value:
        case dict():
            return {key: _with_integers(value[key]) for key in sorted(value)}
        case list():
            return [_with_integers(each) for each in value]
        case float() if value.is_integer() and abs(value) <= _MAX_EXACT:
            return int(value)
        case _:
            return value
