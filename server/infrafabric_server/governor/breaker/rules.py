"""What opens a breaker and what closes it, as pure functions.

    state    event                                              next
    CLOSED   a failure too many in a row, or too high a rate    OPEN
    CLOSED   `tripped`: by hand, for money                      OPEN
    OPEN     `reset` with an approver and a reason              CLOSED

Everything else leaves the state as it is.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from infrafabric_server.governor.breaker.models import (
    Breaker,
    BreakerCause,
    BreakerState,
    Outcome,
)
from infrafabric_server.governor.money import usd
from infrafabric_server.governor.policy.models import Breaking

# The window is counted in this many slices, so that old attempts leave it little by little.
_SLICES = 60


def _next(breaker: Breaker, **changes: Any) -> Breaker:
    return breaker.model_copy(update=changes)


def tripped(
    breaker: Breaker,
    cause: BreakerCause,
    detail: str,
    now: datetime,
    *,
    grace: timedelta,
    policy_hash: str,
) -> Breaker:
    """Return the breaker open; one that is open stays as it is, with its first cause."""
    if breaker.open:
        return breaker
    return _next(
        breaker,
        state=BreakerState.OPEN,
        cause=cause,
        detail=detail,
        open_time=now,
        fence_time=now + grace,
        policy_hash=policy_hash,
    )


def reset(
    breaker: Breaker, approver: str, reason: str, now: datetime, *, revision: int = 0
) -> Breaker:
    """Return the breaker closed, with nothing counted before `revision`.

    Raises ValueError without an approver or a reason.
    """
    if not approver.strip() or not reason.strip():
        raise ValueError("a breaker is closed by somebody, for a reason")
    return _next(
        breaker,
        state=BreakerState.CLOSED,
        fence_time=None,
        approver=approver,
        reset_reason=reason,
        reset_time=now,
        consecutive_failures=0,
        failed_task_id="",
        window=(),
        counted_revision=max(revision, breaker.counted_revision),
    )


def succeeded(breaker: Breaker) -> Breaker:
    """Return the breaker after an attempt that ended well: failures are not in a row any more."""
    return breaker if breaker.open else _next(breaker, consecutive_failures=0, failed_task_id="")


def failed(breaker: Breaker, task_id: str) -> Breaker:
    """Return the breaker after an attempt that failed; one task that fails again counts once."""
    if breaker.open or (breaker.consecutive_failures and breaker.failed_task_id == task_id):
        return breaker
    row = breaker.consecutive_failures + 1
    return _next(breaker, consecutive_failures=row, failed_task_id=task_id)


def counted(
    breaker: Breaker, outcomes: Iterable[Outcome], now: datetime, span: timedelta
) -> Breaker:
    """Return the breaker with outcomes added to its window; what is older than `span` leaves it."""
    width = span / _SLICES
    sums: defaultdict[datetime, list[int]] = defaultdict(lambda: [0, 0, 0])
    for each in (*breaker.window, *outcomes):
        begin = each.time - (each.time - datetime.min.replace(tzinfo=each.time.tzinfo)) % width
        if begin + width > now - span:
            found = sums[begin]
            found[0] += each.calls
            found[1] += each.failed
            found[2] += each.slow
    window = tuple(
        Outcome(time=begin, calls=calls, failed=bad, slow=slow)
        for begin, (calls, bad, slow) in sorted(sums.items())
    )
    return _next(breaker, window=window)


def opening(breaker: Breaker, settings: Breaking) -> tuple[BreakerCause, str] | None:
    """Return why a closed breaker must open for what is counted in it, None when it need not."""
    most = settings.max_consecutive_failures
    if most is not None and breaker.consecutive_failures >= most:
        return BreakerCause.FAILURES, (
            f"{breaker.consecutive_failures} failures in a row, {most} open it"
        )
    calls = sum(each.calls for each in breaker.window)
    if calls < settings.min_calls:
        return None
    rates = (
        (BreakerCause.FAILURE_RATE, "failed", "failed", settings.max_failure_rate),
        (BreakerCause.SLOW, "slow", "took too long", settings.max_slow_rate),
    )
    for cause, field, what, most_of in rates:
        bad = sum(getattr(each, field) for each in breaker.window)
        if most_of is not None and bad >= Fraction(str(most_of)) * calls:
            window = f"{settings.window.total_seconds():g} s"
            return cause, (
                f"{bad} of the last {calls} attempts {what} in {window},"
                f" a share of {most_of:g} opens it"
            )
    return None


def exhausted(limit_micros: int | None, spent_micros: int) -> str:
    """Return what to say of a budget of which nothing is left; "" while something is."""
    if limit_micros is None or limit_micros - spent_micros > 0:
        return ""
    return f"{usd(spent_micros)} of {usd(limit_micros)} are spent"


def overrun(cost_micros: int, bound_micros: int | None) -> str:
    """Return what to say of an attempt that cost more than it might; "" if it did not.

    `bound_micros` is None for one that nobody has set a limit for.
    """
    if bound_micros is None or cost_micros <= bound_micros:
        return ""
    return f"an attempt cost {usd(cost_micros)}, it had {usd(bound_micros)} to spend"
