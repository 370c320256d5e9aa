"""Running totals of client processes: what a report adds to what is known.

A client process reports a total that only rises. Its rise since the last report is
charged; a fall is a restarted process, whose whole value is charged; a repeat charges
nothing, and 0 says nothing. What a completion has charged already is taken off the next
rise, because a process counts its completed tasks in its own total too.
"""

from dataclasses import dataclass

# Totals are sent as 64-bit integers.
MAX_TOTAL = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Total:
    """What is known: the total itself, the last report, and completions since then."""

    known: int
    reported: int
    unreported: int


def report(total: Total, value: int) -> Total:
    """Return the total after a client process reported `value`."""
    if value in (0, total.reported):
        return total
    if value < total.reported:
        return Total(_capped(total.known + value), value, 0)
    rise = value - total.reported
    covered = min(rise, total.unreported)
    return Total(_capped(total.known + rise - covered), value, total.unreported - covered)


def complete(total: Total, value: int) -> Total:
    """Return the total after a completion added `value` to it."""
    return Total(_capped(total.known + value), total.reported, _capped(total.unreported + value))


def _capped(value: int) -> int:
    return min(value, MAX_TOTAL)
