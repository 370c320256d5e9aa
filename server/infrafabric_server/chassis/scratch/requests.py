"""What a guest asks of its scratch space and is answered, as JSON: read strictly, and bounded."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import to_json

from infrafabric_server.limits import CAPABILITY_PATTERN

# Of a value, as JSON text: with its quotes and escapes, as it is stored.
MAX_VALUE_BYTES = 16 * 1024

_RULE = (
    'kv takes {"operation": "get", "put" or "delete", "key": ..., "value": text, for put}; a key'
    " has 1 to 128 characters of A-Z a-z 0-9 . _ : - / and begins with a letter or digit"
)
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)

Key = Annotated[str, StringConstraints(pattern=CAPABILITY_PATTERN)]


class NoScratchRequest(ValueError):
    """The guest asked for what is no request; the text says what one is."""


class Get(BaseModel):
    """Asks for the value of a key."""

    model_config = _STRICT

    operation: Literal["get"]
    key: Key


class Put(BaseModel):
    """Sets a key to a value."""

    model_config = _STRICT

    operation: Literal["put"]
    key: Key
    value: Annotated[str, Field(max_length=MAX_VALUE_BYTES)]


class Delete(BaseModel):
    """Removes a key."""

    model_config = _STRICT

    operation: Literal["delete"]
    key: Key


Request = Get | Put | Delete

_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="operation")])


def read_request(body: bytes) -> Request:
    """Return what a guest asks for.

    Raises:
        NoScratchRequest: it is no request, or its value is too large.
    """
    try:
        asked = _REQUEST.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "string_too_long":
            raise _too_large() from None
        where = ".".join(map(str, first["loc"])) or "request"
        raise NoScratchRequest(f"{_RULE} ({where}: {first['msg']})") from None
    if isinstance(asked, Put) and len(to_json(asked.value)) > MAX_VALUE_BYTES:
        raise _too_large()
    return asked


def write_answer(value: str | None) -> bytes:
    """Return what a get is answered: {"value"}, or {} for a key that is not there."""
    return b"{}" if value is None else to_json({"value": value})


def _too_large() -> NoScratchRequest:
    return NoScratchRequest(f"a value must have at most {MAX_VALUE_BYTES} bytes as JSON text")
