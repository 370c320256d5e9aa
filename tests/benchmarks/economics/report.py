"""Tables for people and JSON for programs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from tests.benchmarks.economics.figures import Figures, Range
from tests.benchmarks.economics.model import Scenario

Figure = Callable[[Figures], float | None]

_SHARES: dict[str, Figure] = {
    "wasted": lambda day: day.wasted,
    "unfit": lambda day: day.unfit,
    "failed": lambda day: day.failed,
    "repeated": lambda day: day.repeated,
    "fenced": lambda day: day.fenced,
    "on rogues": lambda day: day.on_rogues,
    "done": lambda day: day.done,
    "idle": lambda day: day.idle,
}
_NUMBERS: dict[str, Figure] = {
    "USD/done": lambda day: day.usd_per_done,
    "hours p50": lambda day: day.hours_p50,
    "hours p95": lambda day: day.hours_p95,
    "breakers": lambda day: day.breakers,
    "of honest": lambda day: day.false_alarms,
}


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def ranged(found: Range | None, shown: Callable[[float], str]) -> str:
    """Return a figure as its median and, where seeds differ, its extremes."""
    if found is None:
        return "-"
    middle, least, most = map(shown, (found.middle, found.least, found.most))
    return middle if least == most else f"{middle} ({least} to {most})"


def regimes_table(days: Sequence[Figures]) -> Table:
    """Return the figures of one family, a column for each way of giving work."""
    table = Table(title=f"{days[0].family}: shares in %, median (range) over seeds")
    table.add_column("")
    names = list(dict.fromkeys(day.regime for day in days))
    for name in names:
        table.add_column(name, justify="right")
    groups = [[day for day in days if day.regime == name] for name in names]
    for figures, shown in ((_SHARES, _percent), (_NUMBERS, _number)):
        for label, figure in figures.items():
            table.add_row(label, *(ranged(Range.of(group, figure), shown) for group in groups))
    return table


def families_table(days: Sequence[Figures], label: str) -> Table:
    """Return one figure of every family, a column for each way of giving work."""
    shares = label in _SHARES
    figure, shown = (_SHARES[label], _percent) if shares else (_NUMBERS[label], _number)
    table = Table(title=f"{label}{' in %' if shares else ''}, median (range) over seeds")
    table.add_column("family")
    names = list(dict.fromkeys(day.regime for day in days))
    for name in names:
        table.add_column(name, justify="right")
    for family in dict.fromkeys(day.family for day in days):
        rows = [day for day in days if day.family == family]
        ranges = (Range.of([day for day in rows if day.regime == name], figure) for name in names)
        table.add_row(family, *(ranged(each, shown) for each in ranges))
    return table


def show(days: Sequence[Figures], console: Console) -> None:
    """Print the whole of one family, or the main figures of several."""
    if len({day.family for day in days}) == 1:
        console.print(regimes_table(days))
        return
    for label in ("wasted", "USD/done", "done", "hours p95"):
        console.print(families_table(days, label))


def as_json(scenarios: Sequence[Scenario], days: Sequence[Figures]) -> str:
    """Return all inputs and all figures, day by day, as JSON."""
    said = {
        "scenarios": [scenario.model_dump(mode="json") for scenario in scenarios],
        "days": [asdict(day) for day in days],
    }
    return json.dumps(said, indent=1)
