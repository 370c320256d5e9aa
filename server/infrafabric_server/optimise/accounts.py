"""How costs change accounts: pure rules."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, tzinfo

from infrafabric_server.optimise.models import (
    FABRIC,
    Cost,
    Period,
    Spending,
    Stretch,
    swarm_account,
)
from infrafabric_server.optimise.periods import period_at

# What a fabric has of the last two periods suffices while clocks differ by less than a period.
# Those that are ahead, as a clock was, take no place of the present one.
_KEPT = 2


def accounts_of(cost: Cost) -> tuple[str, str]:
    """Return the accounts that a cost is charged to."""
    return swarm_account(cost.swarm_id), FABRIC


def by_account(costs: Iterable[Cost]) -> dict[str, list[Cost]]:
    """Return what is charged to each account."""
    charges: defaultdict[str, list[Cost]] = defaultdict(list)
    for cost in costs:
        if cost.charge:
            for account in accounts_of(cost):
                charges[account].append(cost)
    return dict(charges)


def charged(
    spending: Spending | None, costs: Iterable[Cost], where: tzinfo, now: datetime
) -> Spending:
    """Return what an account has spent after costs were added, in any order.

    Args:
        spending: what it had spent; None for nothing.
        costs: what is charged to it.
        where: the time zone of its periods.
        now: the time, by which a period has begun or is ahead.
    """
    spending = spending or Spending()
    added = list(costs)
    times: defaultdict[datetime, int] = defaultdict(int)
    for cost in added:
        times[cost.time] += cost.micros
    return Spending(
        total_micros=spending.total_micros + sum(times.values()),
        periods={
            period: _with(spending.periods.get(period, ()), _stretches(period, times, where), now)
            for period in Period
        },
    )


def spent_since(spending: Spending | None, period: Period, begin: datetime) -> int:
    """Return what an account has spent in the stretches that reach beyond `begin`."""
    stretches = () if spending is None else spending.periods.get(period, ())
    return sum(each.micros for each in stretches if each.end_time > begin)


def _stretches(period: Period, times: dict[datetime, int], where: tzinfo) -> list[Stretch]:
    found: list[Stretch] = []
    for time in sorted(times):
        if found and found[-1].begin_time <= time < found[-1].end_time:
            found[-1] = _grown(found[-1], times[time])
        else:
            begin, end = period_at(period, time, where)
            found.append(Stretch(begin_time=begin, end_time=end, micros=times[time]))
    return found


def _with(known: Iterable[Stretch], added: Iterable[Stretch], now: datetime) -> tuple[Stretch, ...]:
    stretches = {(each.begin_time, each.end_time): each for each in known}
    for each in added:
        span = (each.begin_time, each.end_time)
        stretches[span] = _grown(stretches[span], each.micros) if span in stretches else each
    begun = sorted(span for span in stretches if span[0] <= now)
    ahead = sorted(span for span in stretches if span[0] > now)
    return tuple(stretches[span] for span in (*begun[-_KEPT:], *ahead[-_KEPT:]))


def _grown(stretch: Stretch, micros: int) -> Stretch:
    return stretch.model_copy(update={"micros": stretch.micros + micros})
