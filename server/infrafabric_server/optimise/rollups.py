"""Hours and days of costs: what is kept of them, and what is put together to stay bounded."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from infrafabric_server.optimise.models import Cost, Rollup, Row, Waste

OTHER = "(other)"
"""Where the name of something would be that is added up with others; no id has this form."""

MAX_ROWS = 500
"""Most rows of an hour or a day."""

HOURS_KEPT = timedelta(days=30)
"""How long hours are told apart; from then on they are added up to days."""

DAYS_KEPT = timedelta(days=400)
"""How long days are kept."""

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
# Letters of `2026-05-04` and of `2026-05-04T10`.
_DAY_NAME = 10
_HOUR_NAME = 13


class Key(NamedTuple):
    """What the rows of a rollup are told apart by."""

    swarm_id: str
    operation: str
    model: str
    task_id: str


# What is given up first is what has the most values, and is the least missed.
_GIVEN_UP = ("task_id", "model", "operation", "swarm_id")


def key_of(row: Row) -> Key:
    """Return what a row is told apart by."""
    return Key(row.swarm_id, row.operation, row.model, row.task_id)


def row_of(cost: Cost) -> Row:
    """Return one cost as a row."""
    wasted = {waste: cost.micros if cost.waste is waste else 0 for waste in Waste}
    return Row(
        swarm_id=cost.swarm_id,
        operation=cost.operation,
        model=cost.model,
        task_id=cost.task_id,
        micros=cost.micros if cost.charge else 0,
        count=1 if cost.charge else 0,
        failed_micros=wasted[Waste.FAILED],
        repeated_micros=wasted[Waste.REPEATED],
        fenced_micros=wasted[Waste.FENCED],
        cheapest_micros=cost.cheapest_micros or 0,
    )


class Sums:
    """The numbers of rows, added up."""

    __slots__ = ("_cheapest", "_count", "_failed", "_fenced", "_micros", "_repeated")

    def __init__(self) -> None:
        self._micros = self._count = 0
        self._failed = self._repeated = self._fenced = self._cheapest = 0

    def add(self, row: Row) -> None:
        """Add the numbers of one."""
        self._micros += row.micros
        self._count += row.count
        self._failed += row.failed_micros
        self._repeated += row.repeated_micros
        self._fenced += row.fenced_micros
        self._cheapest += row.cheapest_micros

    def row(self, key: Key) -> Row:
        """Return the sums as the row of `key`."""
        return Row(
            **key._asdict(),
            micros=self._micros,
            count=self._count,
            failed_micros=self._failed,
            repeated_micros=self._repeated,
            fenced_micros=self._fenced,
            cheapest_micros=self._cheapest,
        )

    @property
    def weight(self) -> int:
        """By how much they would be missed: what was spent, or if that is more, wasted."""
        return max(self._micros, self._failed + self._repeated + self._fenced)


def put_together(rows: Iterable[Row], limit: int = MAX_ROWS) -> Rollup:
    """Return the rows with equal keys added up, and at most `limit` of them.

    Beyond that the cheapest lose their task to `OTHER`, then their model, their operation and
    their swarm, each only when those before do not do. The sums of all rows never change.
    """
    sums: defaultdict[Key, Sums] = defaultdict(Sums)
    for row in rows:
        sums[key_of(row)].add(row)
    for given_up in _GIVEN_UP:
        if len(sums) > limit:
            _give_up(given_up, sums, limit)
    return Rollup(rows=tuple(sums[key].row(key) for key in sorted(sums)))


def _give_up(dimension: str, sums: defaultdict[Key, Sums], limit: int) -> None:
    named = [key for key in sums if getattr(key, dimension) != OTHER]
    for key in sorted(named, key=lambda key: (sums[key].weight, key)):
        if len(sums) <= limit:
            return
        row = sums.pop(key).row(key)
        sums[key._replace(**{dimension: OTHER})].add(row)


def hour_of(time: datetime) -> str:
    """Return the id of the hour, in UTC, of a time."""
    return time.astimezone(UTC).isoformat()[:_HOUR_NAME]


def name_at(time: datetime, now: datetime) -> str:
    """Return the id of the rollup for what was spent at a time: its hour's, or its day's."""
    hour = hour_of(time)
    day = hour[:_DAY_NAME]
    return day if _is_over(day, now, HOURS_KEPT) else hour


def span(name: str) -> tuple[datetime, datetime]:
    """Return the beginning and the end of the hour or the day that an id names."""
    begin = datetime.fromisoformat(name).replace(tzinfo=UTC)
    return begin, begin + (_DAY if len(name) == _DAY_NAME else _HOUR)


def due(names: Iterable[str], now: datetime) -> Mapping[str, list[str]]:
    """Return which hours are to be added to which day, and which days, with none, are to go."""
    result: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        day = name[:_DAY_NAME]
        if name != day and _is_over(day, now, HOURS_KEPT):
            result[day].append(name)
        elif name == day and _is_over(day, now, DAYS_KEPT):
            result[day] = []
    return result


def _is_over(day: str, now: datetime, kept: timedelta) -> bool:
    return span(day)[1] + kept <= now
