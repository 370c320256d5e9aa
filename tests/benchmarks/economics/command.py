"""The command line of the simulation."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console

from tests.benchmarks.economics.families import BASE, FAMILIES
from tests.benchmarks.economics.regimes import COMPARED, REGIMES
from tests.benchmarks.economics.report import as_json, show
from tests.benchmarks.economics.study import orders, simulated
from tests.benchmarks.measuring import Report

# The share of the money that may be wasted with the governor, and that first-idle wastes.
_AIM = 0.1
_AGAINST = 0.5


def main(arguments: Sequence[str]) -> int:
    """Simulate, and print tables or JSON; the exit status says nothing about the result."""
    options = _parser().parse_args(arguments)
    seeds = options.seed or list(range(1, options.seeds + 1))
    scenarios = [FAMILIES[name].part(options.scale) for name in _named(options)]
    wanted = orders(scenarios, seeds, options.regimes)
    said = Console(stderr=True)
    said.print(f"{len(wanted)} days, seeds {', '.join(map(str, seeds))}, scale {options.scale:g}")
    days = []
    for day in simulated(wanted, options.jobs):
        days.append(day)
        said.print(
            f"{len(days)}/{len(wanted)} {day.family}, seed {day.seed}, {day.regime}: "
            f"{100 * day.wasted:.1f} % of {day.spent_usd:.2f} USD wasted"
        )
    text = as_json(scenarios, days)
    if options.json == "-":
        print(text)
    else:
        show(days, Console(width=max(120, Console().width)))
        if options.json:
            Path(options.json).write_text(text + "\n")
    return 0


def bench(scale: float) -> int:
    """Simulate the base family for `make bench`; return how many aims were missed."""
    report = Report()
    names = [regime.name for regime in COMPARED]
    seeds = (1, 2, 3)
    wanted = orders([BASE.part(min(1.0, scale))], seeds, names)
    report.heading(f"economics: a day of {BASE.swarms} swarms, seeds {seeds}")
    days = list(simulated(wanted, _cores()))
    show(days, Console(width=120))
    for name, aim, at_least in (("governor", _AIM, False), ("first-idle", _AGAINST, True)):
        wasted = [day.wasted for day in days if day.regime == name]
        report.aim(f"share wasted by {name}, median", median(wasted), aim, at_least=at_least)
    return report.missed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.economics")
    parser.add_argument("--seeds", type=int, default=3, help="simulate seeds 1 to this one")
    parser.add_argument("--seed", type=int, action="append", help="simulate this seed instead")
    parser.add_argument(
        "--families",
        default=BASE.name,
        help=f"with commas, or all: {'; '.join(FAMILIES)}",
    )
    parser.add_argument(
        "--regimes",
        type=lambda text: text.split(","),
        default=[regime.name for regime in COMPARED],
        help=f"with commas, of {', '.join(REGIMES)}",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="part of the day, up to 1")
    parser.add_argument("--jobs", type=int, default=_cores(), help="processes")
    parser.add_argument("--json", default="", help="write inputs and figures to this file, - here")
    return parser


def _named(options: argparse.Namespace) -> list[str]:
    names = list(FAMILIES) if options.families == "all" else options.families.split(",")
    unknown = [name for name in names if name not in FAMILIES]
    unknown += [name for name in options.regimes if name not in REGIMES]
    if unknown or not 0 < options.scale <= 1 or options.seeds < 1 or options.jobs < 1:
        wrong = f"{unknown[0]!r} is not known" if unknown else "--scale is above 0 and at most 1"
        sys.exit(f"tests.benchmarks.economics: {wrong}; see --help")
    return names


def _cores() -> int:
    return os.cpu_count() or 1
