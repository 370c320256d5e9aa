"""Revisions of the store that stand in values, and move with the keys that they are about."""

import json
from collections.abc import Callable

# A status, or what stays of one, tells up to which completion its totals count, and which later.
COUNTING = ("statuses/", "departed/")
COUNTED_REVISION = "counted_revision"
COUNTED = "counted"

# Returns the new revision of what was changed at an old one.
Renumber = Callable[[int], int]


def moved(key: str, value: str, renumber: Renumber) -> str:
    """Return `value` with the revisions in it as they are in the place where it goes."""
    if not key.startswith(COUNTING):
        return value
    status = json.loads(value)
    if COUNTED_REVISION in status:
        status[COUNTED_REVISION] = renumber(status[COUNTED_REVISION])
    if COUNTED in status:
        status[COUNTED] = {task: renumber(at) for task, at in status[COUNTED].items()}
    return json.dumps(status, ensure_ascii=False, separators=(",", ":"))


def same(key: str, value: str, other: str, renumber: Renumber) -> bool:
    """Tell whether `other` is what `moved` makes of `value`."""
    return value == other or json.loads(moved(key, value, renumber)) == json.loads(other)
