"""What was spent on what, and what of it was in vain."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from infrafabric_server.optimise.models import Row
from infrafabric_server.optimise.rollup_store import Rollups
from infrafabric_server.optimise.rollups import Key, Sums
from infrafabric_server.store.protocol import Compacted, StoreUnavailable

MAX_DIMENSIONS = 3
_HOUR = timedelta(hours=1)
_LAST = datetime.max.replace(tzinfo=UTC)
# More than a fabric can have spent: so many micro-US-dollars less a cost sort the dearest first.
_MOST = 10**24
# All costs are read as they were at one moment, which may be forgotten meanwhile.
_TRIES = 3


class Dimension(StrEnum):
    """Something that costs are told apart by."""

    SWARM = "swarm"
    OPERATION = "operation"
    MODEL = "model"
    TASK = "task"
    HOUR = "hour"


@dataclass(frozen=True, slots=True)
class Question:
    """Which costs, and what the rows of the report are.

    `after` is rounded down to the hour and `before` up; None leaves that side open. "" is any
    swarm, and any task.
    """

    group_by: frozenset[Dimension] = frozenset()
    after: datetime | None = None
    before: datetime | None = None
    swarm_id: str = ""
    task_id: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a report; dimensions that it is not grouped by are empty."""

    row: Row
    hour: datetime | None = None

    @property
    def place(self) -> str:
        """A text by which lines sort: the dearest first, equal ones by what they are of."""
        hour = "" if self.hour is None else self.hour.isoformat()
        row = self.row
        names = (row.swarm_id, row.operation, row.model, row.task_id)
        return "\t".join((f"{_MOST - row.micros:025d}", hour, *names))


@dataclass(frozen=True, slots=True)
class Report:
    """The lines, the dearest first, and their sum."""

    lines: tuple[Line, ...]
    total: Row


class CostReports:
    """Answers from the rollups, and from the costs that are in none yet."""

    def __init__(self, rollups: Rollups) -> None:
        self._rollups = rollups

    async def report(self, question: Question) -> Report:
        """Return what was spent.

        Raises the store's errors; StoreUnavailable also when it forgets faster than it is read.
        """
        for _ in range(_TRIES):
            with suppress(Compacted):
                return await self._report(question)
        raise StoreUnavailable("the history of the store is compacted faster than costs are read")

    async def _report(self, question: Question) -> Report:
        after = None if question.after is None else _hour(question.after)
        before = None if question.before is None else _hour_after(question.before)
        sums: dict[tuple[datetime | None, Key], Sums] = {}
        total = Sums()
        by = question.group_by
        async for begin, rows in self._rollups.between(after, before):
            hour = begin if Dimension.HOUR in by else None
            for row in rows:
                if question.swarm_id not in ("", row.swarm_id):
                    continue
                if question.task_id not in ("", row.task_id):
                    continue
                sums.setdefault((hour, _group(row, by)), Sums()).add(row)
                total.add(row)
        lines = [Line(each.row(key), hour) for (hour, key), each in sums.items()]
        return Report(tuple(sorted(lines, key=lambda line: line.place)), total.row(_NOTHING))


_NOTHING = Key("", "", "", "")


def _group(row: Row, by: frozenset[Dimension]) -> Key:
    return Key(
        row.swarm_id if Dimension.SWARM in by else "",
        row.operation if Dimension.OPERATION in by else "",
        row.model if Dimension.MODEL in by else "",
        row.task_id if Dimension.TASK in by else "",
    )


def _hour_after(time: datetime) -> datetime | None:
    """Return the time rounded up; None in the last hour that there is."""
    hour = _hour(time)
    if hour == time:
        return time
    return hour + _HOUR if hour <= _LAST - _HOUR else None


def _hour(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
