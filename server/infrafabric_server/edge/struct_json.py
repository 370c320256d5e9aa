"""JSON objects: `google.protobuf.Struct` on the wire, compact JSON text inside."""

import json
import math
from collections.abc import Iterable, Mapping

from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.limits import MAX_PAYLOAD_BYTES

# Each level takes three levels of messages and a frame adds four around them: with 32
# the deepest message stays within the 100 levels that protobuf decoders accept.
MAX_DEPTH = 32

# Beyond it a double does not tell one whole number from the next.
_EXACT_INTEGER = 2**53

# Sorted, because a Struct keeps no order: the same object always gives the same text.
_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


def struct_to_json(field: str, value: Struct) -> str:
    """Return `value` as compact JSON text, with whole numbers as integers.

    Raises:
        InvalidField: it is nested deeper than 32 levels, is over 256 KiB on the wire or
            as JSON, or holds NaN, an infinity or a value without a kind.
    """
    if not value.fields:
        return "{}"
    if value.ByteSize() > MAX_PAYLOAD_BYTES:
        raise _too_large(field)
    return _checked_size(field, _encode(_read_fields(field, value.fields.items(), 1)))


def object_to_json(field: str, value: Mapping[str, object]) -> str:
    """Return a JSON object as compact text, exactly as if it had come as a Struct.

    Raises:
        InvalidField: a rule of `struct_to_json` is broken, or `value` holds something that is
            not JSON, such as text that is not Unicode or a number too large for a double.
    """
    struct = Struct()
    try:
        object_to_struct(value, struct)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _invalid(
            field, "must be JSON: finite numbers, Unicode text, true, false, null, lists, objects"
        ) from error
    return struct_to_json(field, struct)


def json_to_struct(text: str, into: Struct) -> None:
    """Set the empty Struct `into` to the JSON object `text`, which was checked on its way in."""
    object_to_struct(json.loads(text or "{}"), into)


def object_to_struct(value: Mapping[str, object], into: Struct) -> None:
    """Set the empty Struct `into` to the JSON object `value`.

    Raises:
        TypeError, ValueError, OverflowError: `value` is not JSON, or a number is too large.
    """
    for key, each in value.items():
        _write(into.fields[key], each)


def _read_fields(field: str, fields: Iterable[tuple[str, Value]], depth: int) -> dict[str, object]:
    if depth > MAX_DEPTH:
        raise _too_deep(field)
    return {key: _read(field, value, depth) for key, value in fields}


def _read(field: str, value: Value, depth: int) -> object:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return _number(field, value.number_value)
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _read_fields(field, value.struct_value.fields.items(), depth + 1)
        case "list_value":
            if depth >= MAX_DEPTH:
                raise _too_deep(field)
            return [_read(field, each, depth + 1) for each in value.list_value.values]
        case "null_value":
            return None
    raise _invalid(field, "must not hold a value without a kind")


def _number(field: str, number: float) -> int | float:
    if not math.isfinite(number):
        raise _invalid(field, "must not hold NaN or an infinity, which JSON cannot write")
    if number.is_integer() and abs(number) < _EXACT_INTEGER:
        return int(number)
    return number


def _write(target: Value, value: object) -> None:
    match value:
        case None:
            target.null_value = NULL_VALUE
        case bool():
            target.bool_value = value
        case str():
            target.string_value = value
        case int() | float():
            target.number_value = value
        case dict():
            # An empty object or list still has to be there.
            target.struct_value.SetInParent()
            for key, each in value.items():
                _write(target.struct_value.fields[key], each)
        case list():
            target.list_value.SetInParent()
            for each in value:
                _write(target.list_value.values.add(), each)
        case _:
            raise TypeError(f"JSON has no {type(value).__name__}")


def _checked_size(field: str, text: str) -> str:
    # No character takes more than four bytes: most texts need not be encoded to be measured.
    if len(text) * 4 > MAX_PAYLOAD_BYTES and len(text.encode()) > MAX_PAYLOAD_BYTES:
        raise _too_large(field)
    return text


def _too_deep(field: str) -> InvalidField:
    return _invalid(field, f"must be nested at most {MAX_DEPTH} levels deep")


def _too_large(field: str) -> InvalidField:
    return _invalid(field, f"must be at most {MAX_PAYLOAD_BYTES} bytes, on the wire and as JSON")


def _invalid(field: str, rule: str) -> InvalidField:
    return InvalidField(FieldViolation(field, rule))
