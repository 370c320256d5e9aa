"""The figures of a day, and their range over seeds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.economics.books import Fate
from tests.benchmarks.economics.day import Day
from tests.benchmarks.economics.world import HOUR, MICROS


class BooksDisagree(Exception):
    """The fabric's accounts and what the swarms really spent are not the same."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a day came to. Shares are of the money that was spent, but for those named otherwise.

    `usd_per_done` is None when nothing was done. `hours_p50` and `hours_p95` are from a job's
    arrival to its sound end, of the `done` share of all jobs. `idle` is the share of the fleet's
    time while work arrived. `false_alarms` are breakers of honest swarms that opened.
    """

    family: str
    seed: int
    regime: str
    spent_usd: float
    wasted: float
    unfit: float
    failed: float
    repeated: float
    fenced: float
    on_rogues: float
    usd_per_done: float | None
    done: float
    attempts: int
    hours_p50: float | None
    hours_p95: float | None
    idle: float
    breakers: int
    false_alarms: int


def figures(day: Day) -> Figures:
    """Return the figures of a day.

    Raises BooksDisagree when the cost report has another sum than what swarms spent.
    """
    money = day.books.money()
    spent = sum(money.values())
    if day.ledger.total.micros != spent:
        told = f"{day.ledger.total.micros} micro-US-dollars in the ledger, {spent} spent"
        raise BooksDisagree(f"{day.scenario.name}, seed {day.seed}, {day.regime}: {told}")
    honest = {swarm.swarm_id for swarm in day.world.swarms if swarm.honest}
    waits, work = day.books.waits(), day.scenario.work
    busy = day.books.busy_hours(work.hours * HOUR)

    def share(*fates: Fate) -> float:
        return sum(money[fate] for fate in fates) / spent if spent else 0.0

    return Figures(
        family=day.scenario.name,
        seed=day.seed,
        regime=day.regime,
        spent_usd=spent / MICROS,
        wasted=share(Fate.UNFIT, Fate.FAILED, Fate.REPEATED, Fate.FENCED),
        unfit=share(Fate.UNFIT),
        failed=share(Fate.FAILED),
        repeated=share(Fate.REPEATED),
        fenced=share(Fate.FENCED),
        on_rogues=day.books.on_rogues() / spent if spent else 0.0,
        usd_per_done=spent / MICROS / len(waits) if waits else None,
        done=len(waits) / len(day.books.jobs),
        attempts=len(day.books.spells),
        hours_p50=_at(waits, 0.5),
        hours_p95=_at(waits, 0.95),
        idle=1 - busy / (len(day.world.swarms) * work.hours),
        breakers=len(day.openings),
        false_alarms=sum(opening.swarm_id in honest for opening in day.openings),
    )


def _at(ordered: list[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


@dataclass(frozen=True, slots=True)
class Range:
    """The median over seeds and the extremes; None where no day has the figure."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(
        cls, days: Iterable[Figures], figure: Callable[[Figures], float | None]
    ) -> "Range | None":
        """Return the range of a figure."""
        values = [value for day in days if (value := figure(day)) is not None]
        return cls(median(values), min(values), max(values)) if values else None
