"""Service levels of a swarm over a rolling window, in constant memory, as pure functions.

The window is cut into `SLICES`. What is older than the window leaves it by a slice. Of a swarm that
does much, the newest slices that have `max_attempts` are enough.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from math import ceil, log2

from pydantic import BaseModel, ConfigDict

from infrafabric_server.chassis.reputation import Verdict
from infrafabric_server.governor.policy.models import ServiceLevel

SLICES = 24
# What the burn rate is over: a twelfth of the window, as the short windows of the SRE Workbook.
_RECENT = 2
# Latencies are counted in bins of which each reaches to 2^(1/4) of the one before: 19 %.
_BINS_PER_DOUBLING = 4
_SHORTEST = 0.001
_LAST_BIN = 160

ON_TIME = 0.99
"""Share of the completed attempts that must not take longer than `p99_latency`."""


class Slice(BaseModel):
    """What happened in the slice that begins at `time`.

    `latencies` has the completed attempts by bin; `up_seconds` is how long there was a session.
    """

    model_config = ConfigDict(frozen=True)

    time: datetime
    completed: int = 0
    failed: int = 0
    late: int = 0
    latencies: Mapping[int, int] = {}
    up_seconds: float = 0.0

    @property
    def attempts(self) -> int:
        """How many attempts ended."""
        return self.completed + self.failed


Window = tuple[Slice, ...]


class ObjectiveKind(StrEnum):
    """What an objective is about."""

    SUCCESS = "success"
    LATENCY = "latency"
    AVAILABILITY = "availability"


@dataclass(frozen=True, slots=True)
class Objective:
    """How an objective stands: `bad` of `total`, attempts or seconds, against a `target`.

    `burn_rate` is that of the last twelfth of the window: at 1 the error budget would just last,
    at 2 half as long.
    """

    kind: ObjectiveKind
    target: float
    total: float
    bad: float
    burn_rate: float

    @property
    def attained(self) -> float:
        """Share of the total that was good; 1 of nothing."""
        return 1.0 - self.bad / self.total if self.total else 1.0

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.budget_left >= 0

    @property
    def budget_left(self) -> float:
        """Share of the error budget that is left: 1 is all, below 0 is overspent."""
        return 1.0 - _burn(self.bad, self.total, self.target)


def late(latency: timedelta, settings: ServiceLevel) -> bool:
    """Tell whether a completion took longer than it should."""
    return settings.p99_latency is not None and latency > settings.p99_latency


def attempt(verdict: Verdict, latency: timedelta, ended: datetime) -> Slice:
    """Return one attempt, to be merged into a window."""
    failed = verdict is Verdict.FAILED
    return Slice(
        time=ended,
        completed=int(not failed),
        failed=int(failed),
        late=int(verdict is Verdict.LATE),
        latencies={} if failed else {_bin(latency): 1},
    )


def been_up(begin: datetime, end: datetime, settings: ServiceLevel) -> list[Slice]:
    """Return a stretch of time in which there was a session, to be merged into a window."""
    width = settings.window / SLICES
    begin = max(begin, end - settings.window)
    stretches: list[Slice] = []
    while begin < end:
        following = min(end, slice_begin(begin, width) + width)
        stretches.append(Slice(time=begin, up_seconds=(following - begin).total_seconds()))
        begin = following
    return stretches


def merged(slices: Iterable[Slice], now: datetime, settings: ServiceLevel) -> Window:
    """Return slices of any width, in any order, as a window, without what is over.

    What is dated in the future, by a clock that was set back since, counts as of now.
    """
    width = settings.window / SLICES
    groups: defaultdict[datetime, list[Slice]] = defaultdict(list)
    for each in slices:
        groups[slice_begin(min(each.time, now), width)].append(each)
    over = slice_begin(now, width) - settings.window
    return tuple(
        group[0] if len(group) == 1 and group[0].time == begin else _sum(begin, group)
        for begin, group in sorted(groups.items())
        if begin > over
    )


def objectives(
    window: Window,
    now: datetime,
    settings: ServiceLevel,
    *,
    watched_since: datetime | None = None,
) -> list[Objective]:
    """Return how the objectives stand that are set, of what is in the window now.

    `watched_since` is when the swarm's first session began; None for one that never had any, of
    which nothing is asked.
    """
    window = merged(window, now, settings)
    width = settings.window / SLICES
    recent_begin = slice_begin(now, width) - (_RECENT - 1) * width
    recent = [each for each in window if each.time >= recent_begin]
    long, short = total(window, now, settings), _sum(now, recent)
    found = [
        _objective(
            ObjectiveKind.SUCCESS,
            settings.success_rate,
            (long.failed, long.attempts),
            (short.failed, short.attempts),
        )
    ]
    if settings.p99_latency is not None:
        found.append(
            _objective(
                ObjectiveKind.LATENCY,
                ON_TIME,
                (long.late, long.completed),
                (short.late, short.completed),
            )
        )
    if settings.availability is not None and watched_since is not None:
        begin = slice_begin(now, width) - (SLICES - 1) * width
        found.append(
            _objective(
                ObjectiveKind.AVAILABILITY,
                settings.availability,
                _down(window, max(begin, watched_since), now),
                _down(recent, max(recent_begin, watched_since), now),
            )
        )
    return found


def total(window: Window, now: datetime, settings: ServiceLevel) -> Slice:
    """Return all that counts of the attempts in a window: the newest slices that are enough."""
    enough: list[Slice] = []
    attempts = 0
    for each in reversed(window):
        if attempts >= settings.max_attempts:
            break
        attempts += each.attempts
        enough.append(each)
    return _sum(enough[-1].time if enough else now, enough)


def quantile(latencies: Mapping[int, int], share: float) -> timedelta | None:
    """Return what that share of the attempts did not exceed, at most 19 % more; None of none."""
    rank = ceil(share * sum(latencies.values()))
    for number in sorted(latencies):
        rank -= latencies[number]
        if rank <= 0:
            return timedelta(seconds=_SHORTEST * 2 ** (number / _BINS_PER_DOUBLING))
    return None


def _down(slices: Iterable[Slice], begin: datetime, now: datetime) -> tuple[float, float]:
    """Return for how long there was no session since a time, and how long that is, in seconds."""
    seconds = max(0.0, (now - begin).total_seconds())
    return max(0.0, seconds - sum(each.up_seconds for each in slices)), seconds


def _objective(
    kind: ObjectiveKind, target: float, long: tuple[float, float], short: tuple[float, float]
) -> Objective:
    return Objective(kind, target, total=long[1], bad=long[0], burn_rate=_burn(*short, target))


def _burn(bad: float, total: float, target: float) -> float:
    # In exact numbers: who just keeps the target has spent all of the budget, and no more.
    budget = 1 - Fraction(str(target))
    return float(Fraction(bad) / Fraction(total) / budget) if total else 0.0


def _sum(time: datetime, slices: Iterable[Slice]) -> Slice:
    completed = failed = late_ones = 0
    up_seconds = 0.0
    latencies: dict[int, int] = {}
    for each in slices:
        completed += each.completed
        failed += each.failed
        late_ones += each.late
        up_seconds += each.up_seconds
        for number, count in each.latencies.items():
            latencies[number] = latencies.get(number, 0) + count
    return Slice(
        time=time,
        completed=completed,
        failed=failed,
        late=late_ones,
        latencies=latencies,
        up_seconds=up_seconds,
    )


def slice_begin(time: datetime, width: timedelta) -> datetime:
    """Return when the slice of some width began that a time is in, the same for everybody."""
    return time - (time - datetime.min.replace(tzinfo=time.tzinfo)) % width


def _bin(latency: timedelta) -> int:
    ratio = max(latency.total_seconds(), _SHORTEST) / _SHORTEST
    return min(_LAST_BIN, ceil(_BINS_PER_DOUBLING * log2(ratio)))
