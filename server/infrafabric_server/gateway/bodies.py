"""Reading JSON bodies: bounded in size and time, and every fault named by field and rule."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request

from infrafabric_server.errors import FieldViolation, InvalidField

# The largest field is a task's input of 256 KiB; escapes and white space come on top.
MAX_BODY_BYTES = 1024 * 1024
# Ours is sent in one piece; who takes longer holds a connection without a reason.
BODY_SECONDS = 10.0


class BodyUnread(InvalidField):
    """A body that was refused before it was read to its end: the connection must be closed."""


async def read_object(request: Request, number: Callable[[str], object] = float) -> dict[str, Any]:
    """Return the JSON object in the body, without its null fields: null is absent.

    The content type is not looked at: `curl -d` sends JSON as a form, and old clients
    send none.

    Args:
        request: the request, whose body nobody has read.
        number: makes a number of the text of one that is no integer; it meets NaN and
            Infinity too, which the field's own rule then refuses.

    Raises:
        InvalidField: the field `body` is no JSON object, too long or too slow.
        starlette.requests.ClientDisconnect: the client went away.
    """
    value = parse(await _read(request), number)
    if not isinstance(value, dict):
        raise _refusal(f"must be a JSON object, not {_kind(value)}")
    return {name: field for name, field in value.items() if field is not None}


def parse(raw: bytes, number: Callable[[str], object] = float) -> Any:
    """Return the JSON value in `raw`. Raises InvalidField saying where it breaks."""
    try:
        text = raw.decode()
        if not text.strip():
            raise _refusal("must be a JSON object, and is empty")
        return json.loads(text, parse_float=number, parse_constant=number)
    except UnicodeDecodeError as error:
        raise _refusal(f"must be UTF-8: byte {error.start} is not") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _refusal(f"must be JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise _refusal("must not be nested so deeply") from None
    except (ArithmeticError, ValueError):
        raise _refusal("must not contain a number with so many digits") from None


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise _too_long()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _too_long()
    except TimeoutError:
        raise BodyUnread(
            FieldViolation("body", f"must arrive within {BODY_SECONDS:.0f} seconds")
        ) from None
    return bytes(body)


def _too_long() -> BodyUnread:
    return BodyUnread(FieldViolation("body", f"must have at most {MAX_BODY_BYTES} bytes"))


def _refusal(rule: str) -> InvalidField:
    return InvalidField(FieldViolation("body", rule))


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
