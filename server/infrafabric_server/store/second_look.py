"""A refusal that may come from views that are behind is decided once more on newer ones."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from infrafabric_server.errors import FabricError, Reason

T = TypeVar("T")

# Has the views hold all that was acknowledged before, by any replica; tells whether they may
# have changed by it.
CatchUp = Callable[[], Awaitable[bool]]

# What was said, or how the fabric is, whatever the views hold.
_FINAL = frozenset(
    {
        Reason.INVALID_FIELD,
        Reason.INVALID_PAGE_TOKEN,
        Reason.INVALID_CURSOR,
        Reason.DEPENDENCY_CYCLE,
        Reason.REQUEST_ID_REUSED,
        Reason.SESSION_PROTOCOL,
        Reason.QUEUE_OVERFLOW,
        Reason.OUTBOX_FULL,
        Reason.DRAINING,
        Reason.STORE_UNAVAILABLE,
        Reason.CONTENTION,
        Reason.MODULE_REFUSED,
        Reason.QUEUE_FULL,
        Reason.CHASSIS_CLOSED,
    }
)


async def second_look(decide: Callable[[], Awaitable[T]], catch_up: CatchUp) -> T:
    """Return what `decide` returns; if it refuses, once more after the views have caught up.

    What is accepted was compared with the store, so a stale view can only refuse wrongly: what
    was acknowledged by another replica just now is not in it yet. A refusal that was looked at
    twice is certain: whoever calls the caller does not decide it again.
    """
    try:
        return await decide()
    except FabricError as refusal:
        if refusal.certain or refusal.reason in _FINAL:
            raise
        if not await catch_up():
            refusal.certain = True
            raise
    try:
        return await decide()
    except FabricError as refusal:
        refusal.certain = True
        raise
