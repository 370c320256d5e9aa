"""CPU of one decision of the matching engine, for every shape that could hurt it.

A decision about a swarm that became free: find its task among 100,000 waiting ones, take it
out, enter a new one. A decision about a new task: find the best of 10,000 swarms, mark it
busy, mark another one free. A question about what is registered: name the best of 10,000
swarms. All must stay under a millisecond of CPU, whatever the sets.

The median is held to that. The tail is printed beside it: on a machine that is shared, it
shows how often a neighbour emptied the cache.
"""

import argparse
import gc
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infrafabric_server.coordinator.backlog import Backlog
from infrafabric_server.governor.matching import DEFAULT, Comparison, Metric
from infrafabric_server.governor.roster import Roster

BUDGET_MICROSECONDS = 1_000

Sets = Callable[[random.Random, int], frozenset[str]]


def _words(prefix: str, numbers: range | list[int]) -> frozenset[str]:
    return frozenset(f"{prefix}-{n}" for n in numbers)


def _drawn(size: int, vocabulary: int) -> Sets:
    return lambda rng, _: _words("cap", rng.sample(range(vocabulary), size))


def _kernel(common: int, rare: int) -> Sets:
    kernel = _words("common", range(common))
    return lambda _, i: kernel | _words("rare", range(i * rare, (i + 1) * rare))


SETS: dict[str, Sets] = {
    "1 to 8 of 200 words": lambda rng, _: _words("cap", rng.sample(range(200), rng.randint(1, 8))),
    "64 of 128 words": _drawn(64, 128),
    "64 of 512 words": _drawn(64, 512),
    "64 of 2,048 words": _drawn(64, 2_048),
    "64 of 20,000 words": _drawn(64, 20_000),
    "60 shared, 4 of one's own": _kernel(60, 4),
    "52 shared, 12 of one's own": _kernel(52, 12),
    "disjoint": _kernel(0, 64),
    "the same 64 for all": _kernel(64, 0),
    "nothing required": _kernel(0, 0),
}


@dataclass(frozen=True, slots=True)
class Times:
    """CPU microseconds of each measured decision."""

    micros: list[float]

    def at(self, share: float) -> float:
        """Return the time that this share of the decisions stayed within."""
        ordered = sorted(self.micros)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _measure(decisions: Iterator[None], count: int) -> Times:
    """Time `count` decisions; the collector of garbage runs before, not in between."""
    for _ in range(10):
        next(decisions)
    gc.collect()
    gc.disable()
    micros = []
    for _ in range(count):
        start = time.thread_time_ns()
        next(decisions)
        micros.append((time.thread_time_ns() - start) / 1_000)
    gc.enable()
    return Times(micros)


COMPARISONS = {"plain, by coverage": Comparison(Metric.COVERAGE)}


def backlog_decisions(sets: Sets, tasks: int, variant: str) -> Iterator[None]:
    """Fill a backlog, then decide for one swarm after another, one decision each step."""
    rng = random.Random(1)
    backlog = Backlog()
    spare = [sets(rng, tasks + i) for i in range(256)]
    comparison = COMPARISONS.get(variant, DEFAULT)
    distinct = variant == "all caps and priorities differ"

    def put(number: int, required: frozenset[str]) -> None:
        backlog.put(
            f"task-{number}",
            required,
            priority=rng.randint(-1_000, 1_000) if distinct else 0,
            age=(number, 0),
            max_cost_per_hour_micros=10**9 + number if distinct else None,
        )

    for number in range(tasks):
        put(number, sets(rng, number))
    excluded = {f"task-{n}" for n in range(256)} if variant == "256 excluded" else set[str]()
    query = frozenset({"unheard-of"}) if variant == "none fits" else None
    number = tasks
    while True:
        wanted = spare[number % len(spare)]
        found = backlog.best_for(query or wanted, 10**6, comparison=comparison, excluding=excluded)
        gone = found or f"task-{number - tasks // 2}"
        backlog.remove(gone)
        put(number, wanted)
        number += 1
        yield


def roster_decisions(sets: Sets, swarms: int, variant: str) -> Iterator[None]:
    """Fill a roster, then decide for one task after another, one decision each step."""
    rng = random.Random(1)
    roster = Roster()
    known = [sets(rng, number) for number in range(swarms)]
    for number, capabilities in enumerate(known):
        price = 10**6 + number if variant == "all prices differ" else 10**6
        roster.put(f"swarm-{number}", capabilities, price, f"model-{number % 3}")
        if variant != "one is free":
            since = 0.0 if variant == "all wait equally long" else float(number)
            roster.set_free(f"swarm-{number}", since)
    excluded = {f"swarm-{n}" for n in range(256)} if variant == "256 excluded" else set[str]()
    comparison = COMPARISONS.get(variant, DEFAULT)
    none = frozenset({"unheard-of"}) if variant == "none fits" else None
    number = 0
    while True:
        freed = f"swarm-{number * 7919 % swarms}"
        roster.set_free(freed, float(swarms + number))
        wanted = known[number * 104_729 % swarms]
        found = roster.best(
            none or wanted,
            comparison=comparison,
            max_cost_per_hour_micros=10**12,
            preferred_model="model-1",
            excluding=excluded,
        )
        roster.set_free(freed if found is None else found.swarm_id, None)
        if variant != "one is free" and found is not None and found.swarm_id != freed:
            roster.set_free(found.swarm_id, 0.0)
        number += 1
        yield


def registered_decisions(sets: Sets, swarms: int, variant: str) -> Iterator[None]:
    """Fill a roster, then name the best of all registered swarms for one requirement a step."""
    rng = random.Random(1)
    roster = Roster()
    known = [sets(rng, number) for number in range(swarms)]
    for number, capabilities in enumerate(known):
        roster.put(f"swarm-{number}", capabilities, 10**6 + number, "model")
    comparison = COMPARISONS.get(variant, DEFAULT)
    number = 0
    while True:
        next(roster.in_order(known[number * 104_729 % swarms], comparison=comparison))
        number += 1
        yield


Decisions = Callable[[Sets, int, str], Iterator[None]]

CASES: dict[str, tuple[Decisions, tuple[str, ...]]] = {
    "backlog": (
        backlog_decisions,
        (
            "plain",
            "plain, by coverage",
            "all caps and priorities differ",
            "256 excluded",
            "none fits",
        ),
    ),
    "registry": (registered_decisions, ("plain", "plain, by coverage")),
    "roster": (
        roster_decisions,
        (
            "plain",
            "plain, by coverage",
            "all prices differ",
            "all wait equally long",
            "one is free",
            "256 excluded",
            "none fits",
        ),
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Print p50, p99 and the maximum of each shape; return 1 if a median is over the budget."""
    parser = argparse.ArgumentParser(prog="matching", description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--swarms", type=int, default=10_000)
    parser.add_argument("--count", type=int, default=300, help="decisions to time per shape")
    parser.add_argument("--only", default="", help="only shapes whose name contains this")
    options = parser.parse_args(arguments)
    sizes = {"backlog": options.tasks, "registry": options.swarms, "roster": options.swarms}
    over = 0
    print(f"CPU microseconds per decision: {options.tasks} tasks, {options.swarms} swarms")
    print(f"{'':76}{'p50':>8}{'p99':>8}{'max':>8}")
    for kind, (decisions, variants) in CASES.items():
        for name, sets in SETS.items():
            for variant in variants:
                title = f"{kind:9}{name:34}{variant}"
                if options.only not in title:
                    continue
                times = _measure(decisions(sets, sizes[kind], variant), options.count)
                p50, p99, longest = (times.at(share) for share in (0.5, 0.99, 1.0))
                over += p50 > BUDGET_MICROSECONDS
                print(f"{title:76}{p50:8.0f}{p99:8.0f}{longest:8.0f}", flush=True)
    print(f"{over} shapes with a median over {BUDGET_MICROSECONDS} microseconds")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
