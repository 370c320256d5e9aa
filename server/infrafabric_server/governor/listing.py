"""Filtered pages of a view; the search gives way to other work of the event loop."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from infrafabric_server.store.view import View

# Entries that are looked at in one turn of the event loop: some tenths of a millisecond.
_TURN = 256

MOST_LOOKED_AT = 16_384
"""Entries that are looked at for one part: some tens of milliseconds, in turns."""

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Part(Generic[ModelT]):
    """What was found, and after which id the next part begins; "" at the end of the view."""

    found: list[ModelT]
    position: str


async def filtered(
    view: View[ModelT],
    after: str,
    limit: int,
    fits: Callable[[ModelT], bool],
    *,
    most: int = MOST_LOOKED_AT,
) -> Part[ModelT]:
    """Return at most `limit` models of a view that fit, by id, from the first after `after` on.

    Where few fit, a part has fewer of them than it may, or none, and still is not the last one: at
    most so many entries are looked at. What changes meanwhile may be missing, or be there.
    """
    found: list[ModelT] = []
    position, looked = after, 0
    while len(found) < limit and looked < most:
        page = view.page(position, min(_TURN, most - looked))
        if not page:
            return Part(found, "")
        for entry in page:
            looked += 1
            position = entry.id
            if fits(entry.value):
                found.append(entry.value)
                if len(found) == limit:
                    break
        await asyncio.sleep(0)
    return Part(found, position if view.page(position, 1) else "")
