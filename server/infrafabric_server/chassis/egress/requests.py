"""What a guest asks for and is answered, as JSON: read strictly, and bounded."""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import to_json

from infrafabric_server.chassis.credentials.models import Method
from infrafabric_server.chassis.credentials.urls import MAX_URL, Target, read
from infrafabric_server.limits import MAX_PAYLOAD_BYTES

MAX_HEADERS = 32
MAX_HEADER_BYTES = 8 * 1024
# Of requests and answers; an answer has room in one frame, in base64 or with every quote escaped.
MAX_BODY_BYTES = MAX_PAYLOAD_BYTES

# What frames a message, or speaks to those between: the service says these itself.
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)
_OURS_BEGIN = ("proxy-", "x-forwarded-")
# JSON writes these as six characters; a text with any of them is sent in base64.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,128}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\t\x20-\x7e]{0,4096}$")]


class NotARequest(ValueError):
    """The guest asked for what is no request; the text says what one is."""


@dataclass(frozen=True, slots=True)
class GuestRequest:
    """What a guest asks for."""

    method: str
    target: Target
    headers: tuple[tuple[str, str], ...]
    body: bytes


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    method: Method
    url: Annotated[str, Field(max_length=MAX_URL)]
    headers: Annotated[dict[HeaderName, HeaderValue], Field(max_length=MAX_HEADERS)] = {}
    text: Annotated[str, Field(max_length=MAX_BODY_BYTES)] = ""
    base64: Annotated[str, Field(max_length=MAX_BODY_BYTES * 4 // 3 + 4)] = ""


def read_request(body: bytes) -> GuestRequest:
    """Return what a guest asks for: {"method", "url", "headers", "text" or "base64"}.

    Raises:
        NotARequest: it is none.
    """
    try:
        asked = _Wire.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "request"
        raise NotARequest(f"{where}: {first['msg']}") from None
    try:
        target = read(asked.url)
    except ValueError as error:
        raise NotARequest(f"url: {error}") from None
    for name in asked.headers:
        if name.lower() in _OURS or name.lower().startswith(_OURS_BEGIN):
            raise NotARequest(f"headers.{name}: the service sets it, or nobody may")
    if sum(len(name) + len(value) for name, value in asked.headers.items()) > MAX_HEADER_BYTES:
        raise NotARequest(f"headers: must have at most {MAX_HEADER_BYTES} bytes together")
    return GuestRequest(asked.method, target, tuple(asked.headers.items()), _content(asked))


def _content(asked: _Wire) -> bytes:
    if asked.text and asked.base64:
        raise NotARequest("text and base64: only one of them")
    try:
        content = base64.b64decode(asked.base64, validate=True) if asked.base64 else b""
        content = content or asked.text.encode()
    except (binascii.Error, UnicodeEncodeError):
        raise NotARequest("base64: must be base64; text: must be Unicode") from None
    if len(content) > MAX_BODY_BYTES:
        raise NotARequest(f"a body must have at most {MAX_BODY_BYTES} bytes")
    return content


def write_answer(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """Return what a guest is given: {"status", "headers", "text" or "base64"}.

    Names of headers are in lower case; values of several headers of one name are joined.
    """
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name.lower()] = (
            f"{joined[name.lower()]}, {value}" if name.lower() in joined else value
        )
    answer: dict[str, Any] = {"status": status, "headers": joined}
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if _CONTROL.search(text):
        answer["base64"] = base64.b64encode(body).decode()
    else:
        answer["text"] = text
    return to_json(answer)
