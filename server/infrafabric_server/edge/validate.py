"""Checks of single fields that every way in shares; each names the field and its rule."""

import re
from collections.abc import Iterable

from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.limits import (
    CAPABILITY_PATTERN,
    CAPABILITY_RULE,
    DEFAULT_PAGE,
    ID_PATTERN,
    ID_RULE,
    MAX_CAPABILITIES,
    MAX_MODEL,
    MAX_MONEY_MICROS,
    MAX_PAGE,
    MAX_TEXT,
)

_ID = re.compile(ID_PATTERN)
_CAPABILITY = re.compile(CAPABILITY_PATTERN)
# A revision has at most 19 digits.
_CURSOR = re.compile(r"[0-9]{1,19}\Z")


def require_id(field: str, value: str) -> str:
    """Return `value` if it is an id, else raise InvalidField."""
    if _ID.fullmatch(value) is None:
        raise InvalidField(FieldViolation(field, ID_RULE))
    return value


def optional_id(field: str, value: str) -> str:
    """Return `value` if it is empty or an id, else raise InvalidField."""
    return require_id(field, value) if value else value


def require_text(field: str, value: str, *, least: int = 0, most: int = MAX_TEXT) -> str:
    """Return `value` if it has `least` to `most` characters, else raise InvalidField."""
    if not least <= len(value) <= most:
        raise InvalidField(FieldViolation(field, f"must be {least} to {most} characters"))
    return value


def request_id(field: str, value: str) -> str:
    """Return `value` if it is empty or may be the id of a call, else raise InvalidField."""
    require_text(field, value, most=MAX_MODEL)
    # It is part of a key, which no store takes with such characters.
    if not value.isprintable():
        raise InvalidField(FieldViolation(field, "must have printable characters alone"))
    return value


def require_int(field: str, value: int, least: int, most: int) -> int:
    """Return `value` if it is `least` to `most`, else raise InvalidField."""
    if not least <= value <= most:
        raise InvalidField(FieldViolation(field, f"must be {least} to {most}"))
    return value


def require_money(field: str, value: int) -> int:
    """Return `value` if it is an amount in micro-US-dollars, else raise InvalidField."""
    return require_int(field, value, 0, MAX_MONEY_MICROS)


def require_attempt(field: str, value: int) -> int:
    """Return `value` if it can be the attempt of a claim, else raise InvalidField."""
    if value < 1:
        raise InvalidField(FieldViolation(field, "must be the attempt of the claim, at least 1"))
    return value


def require_operation(field: str, value: str) -> str:
    """Return `value` if it names what a cost was for, else raise InvalidField."""
    if _CAPABILITY.fullmatch(value) is None:
        raise InvalidField(FieldViolation(field, CAPABILITY_RULE))
    return value


def require_capabilities(field: str, values: Iterable[str]) -> frozenset[str]:
    """Return `values` as a set if they are at most 64 capabilities, else raise InvalidField."""
    capabilities = frozenset(values)
    if len(capabilities) > MAX_CAPABILITIES:
        raise InvalidField(FieldViolation(field, f"must have at most {MAX_CAPABILITIES} entries"))
    for capability in capabilities:
        if _CAPABILITY.fullmatch(capability) is None:
            raise InvalidField(FieldViolation(field, f"each entry {CAPABILITY_RULE}"))
    return capabilities


def page_size(value: int, *, default: int = DEFAULT_PAGE) -> int:
    """Return the size of a page: 1 to 1000, `default` for 0; else raise InvalidField."""
    return require_int("page_size", value, 0, MAX_PAGE) or default


def cursor(field: str, value: str) -> int | None:
    """Return the revision that a watch cursor stands for, None for an empty one.

    Raises INVALID_CURSOR for a text that no watch has issued.
    """
    if not value:
        return None
    if _CURSOR.match(value) is None:
        rule = "must be a cursor that this watch has sent, or empty for a snapshot"
        raise FabricError(
            Reason.INVALID_CURSOR, f"{field}: {rule}", fields=[FieldViolation(field, rule)]
        )
    return int(value)
