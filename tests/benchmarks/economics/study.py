"""Days by the dozen: every scenario, seed and way of giving work, on several cores."""

import gc
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from tests.benchmarks.economics.day import simulate
from tests.benchmarks.economics.figures import Figures, figures
from tests.benchmarks.economics.model import Scenario
from tests.benchmarks.economics.regimes import REGIMES

# A day keeps some hundred MB that are never garbage: looked through seldom, as in the server.
_GC_THRESHOLDS = (50_000, 25, 25)


@dataclass(frozen=True, slots=True)
class Order:
    """One day that is to be simulated, by the name of its regime."""

    scenario: Scenario
    seed: int
    regime: str


def orders(
    scenarios: Iterable[Scenario], seeds: Iterable[int], regimes: Iterable[str]
) -> list[Order]:
    """Return all days, those that are compared next to each other."""
    pairs = [(scenario, seed) for scenario in scenarios for seed in seeds]
    return [Order(*pair, regime) for pair in pairs for regime in list(regimes)]


def simulated(wanted: Iterable[Order], jobs: int) -> Iterator[Figures]:
    """Yield the figures of days in their order, computed by so many processes; one is this."""
    if jobs == 1:
        _prepare()
        yield from map(_figures_of, wanted)
        return
    spawn = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_prepare) as pool:
        yield from pool.map(_figures_of, wanted)


def _prepare() -> None:
    gc.set_threshold(*_GC_THRESHOLDS)


def _figures_of(order: Order) -> Figures:
    return figures(simulate(order.scenario, order.seed, REGIMES[order.regime]))
