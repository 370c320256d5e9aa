"""What a guest produced, as the JSON text of an object that the contract can carry."""

import json
import math

from infrafabric_server.limits import MAX_PAYLOAD_BYTES

# As deep as what comes in: see edge.struct_json.
MAX_DEPTH = 32
# Beyond it a double, which is what the contract carries, does not tell one whole number from the
# next.
_EXACT_INTEGER = 2**53
# Tags and lengths of a value and of the messages around it; a number with them.
_LENGTHS = 12
_NUMBER = 16


class NoResultError(ValueError):
    """It is no such object; the message says why."""


def read_result(output: bytes) -> str:
    """Return the one JSON object in an output as compact text; an empty output is an empty one.

    Raises:
        NoResultError: it is something else, deeper than 32 levels, or no Unicode.
    """
    if not output.strip():
        return "{}"
    try:
        value = json.loads(output, parse_constant=_refused, parse_int=_number, parse_float=_number)
    except RecursionError:
        raise _too_deep() from None
    except NoResultError:
        raise
    except ValueError as error:
        raise NoResultError(f"the output is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise NoResultError(f"the output is a JSON {_kind(value)}, and must be an object")
    if _wire_bytes(value, 1) > MAX_PAYLOAD_BYTES:
        raise NoResultError(f"the output takes more than {MAX_PAYLOAD_BYTES} bytes as a message")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoResultError("the output has text that is no Unicode") from None
    return text


def _kind(value: object) -> str:
    """Return how JSON calls what is no object."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case list():
            return "array"
    return "number"


def _wire_bytes(value: object, depth: int) -> int:
    """Return a bound of what a value takes as a Struct: lengths of up to 256 KiB take 3 bytes."""
    if depth > MAX_DEPTH + 1:
        raise _too_deep()
    match value:
        case str():
            return len(value.encode(errors="surrogatepass")) + _LENGTHS
        case dict():
            keys = sum(_wire_bytes(key, depth) + _LENGTHS for key in value)
            return keys + sum(_wire_bytes(each, depth + 1) for each in value.values()) + _LENGTHS
        case list():
            return sum(_wire_bytes(each, depth + 1) for each in value) + _LENGTHS
    return _NUMBER


def _number(text: str) -> int | float:
    number = float(text)
    if not math.isfinite(number):
        raise NoResultError("the output has a number that is too large")
    # As what comes in is written: see edge.struct_json.
    return int(number) if number.is_integer() and abs(number) < _EXACT_INTEGER else number


def _refused(name: str) -> float:
    raise NoResultError(f"the output has {name}, which is no JSON")


def _too_deep() -> NoResultError:
    return NoResultError(f"the output is nested deeper than {MAX_DEPTH} levels")
