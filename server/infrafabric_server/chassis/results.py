"""What a guest produced, as the JSON text of an object that the contract can carry."""

import json
import math

# As deep as what comes in: see edge.struct_json.
MAX_DEPTH = 32
# Beyond it a double, which is what the contract carries, does not tell one whole number from the
# next.
_EXACT_INTEGER = 2**53


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
        value = json.loads(output, parse_constant=_refused, parse_int=_number, parse_float=_float)
    except RecursionError:
        raise _too_deep() from None
    except NoResultError:
        raise
    except ValueError as error:
        raise NoResultError(f"the output is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise NoResultError(f"the output is a JSON {type(value).__name__}, and must be an object")
    _check_depth(value, 1)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoResultError("the output has text that is no Unicode") from None
    return text


def _check_depth(value: object, depth: int) -> None:
    if depth > MAX_DEPTH + 1:
        raise _too_deep()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _check_depth(each, depth + 1)


def _number(text: str) -> int | float:
    number = int(text)
    return number if abs(number) < _EXACT_INTEGER else _float(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NoResultError("the output has a number that is too large")
    return number


def _refused(name: str) -> float:
    raise NoResultError(f"the output has {name}, which is no JSON")


def _too_deep() -> NoResultError:
    return NoResultError(f"the output is nested deeper than {MAX_DEPTH} levels")
