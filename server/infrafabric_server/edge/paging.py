"""Page tokens: opaque to callers, and good only for the call and filters that issued them."""

import base64
import binascii
import copy
import hashlib
import json
from typing import Protocol, TypeVar

from infrafabric_server.errors import FabricError, FieldViolation, Reason

_RULE = "must be the next_page_token of an answer to this call with the same filters"


class Paged(Protocol):
    """A request for a page of a list: any generated message with these two fields."""

    page_size: int
    page_token: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802  # as protobuf names it
        """Return the message in binary form."""
        ...


Request = TypeVar("Request", bound=Paged)


def next_page_token(request: Request, position: str) -> str:
    """Return the token of the page that begins after `position`; empty if that is empty."""
    if not position:
        return ""
    text = json.dumps([position, _digest(request, position)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def page_position(request: Request) -> str:
    """Return the position after which the page begins; empty for the first page.

    Raises INVALID_PAGE_TOKEN for a token that this call did not issue with these filters.
    """
    if not request.page_token:
        return ""
    padded = request.page_token + "=" * (-len(request.page_token) % 4)
    try:
        token = json.loads(base64.b64decode(padded.encode(), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        token = None
    match token:
        # Exactly the token that was issued: base64 has several texts for the same bytes.
        case [str(position), _] if request.page_token == next_page_token(request, position):
            return position
        case _:
            raise invalid_page_token()


def invalid_page_token() -> FabricError:
    """Return the refusal of a token that this call did not issue with these filters."""
    return FabricError(
        Reason.INVALID_PAGE_TOKEN,
        f"page_token: {_RULE}",
        fields=[FieldViolation("page_token", _RULE)],
    )


def _digest(request: Request, position: str) -> str:
    filters = copy.deepcopy(request)
    filters.page_token = ""
    # The size of the pages may change on the way.
    filters.page_size = 0
    digest = hashlib.sha256(f"{type(request).__name__}\n{position}\n".encode())
    digest.update(filters.SerializeToString(deterministic=True))
    return digest.hexdigest()[:16]
