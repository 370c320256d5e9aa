"""The swarms and the tasks of one day, drawn from a scenario and a seed."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle
from math import exp, log
from random import Random

from tests.benchmarks.economics.model import Scenario

HOUR = 3600.0
MICROS = 1_000_000
# When there is more to do.
_PEAK = range(8, 18)


class Kind(StrEnum):
    """What a swarm is really like."""

    HONEST = "honest"
    FAILING = "failing"
    OVERSPENDING = "overspending"
    BURNING = "burning"
    PRETENDING = "pretending"


ROGUES = (Kind.FAILING, Kind.OVERSPENDING, Kind.BURNING, Kind.PRETENDING)


@dataclass(frozen=True, slots=True)
class Swarm:
    """One swarm: what it says of itself, and what is true.

    `claimed` and `hourly_micros` are registered. `skills` is what it can do, `chance` how often
    it succeeds at a usual task that it is fit for, `speed` relative to the usual swarm.
    """

    swarm_id: str
    kind: Kind
    claimed: frozenset[str]
    skills: frozenset[str]
    hourly_micros: int
    chance: float
    speed: float

    @property
    def honest(self) -> bool:
        """Whether it stops when told to, and keeps to what a task may cost."""
        return self.kind is Kind.HONEST


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work; `hours` is what it takes a usual swarm, `hardness` is 1 for a usual one.

    `arrival` is in seconds. `max_micros` is what its creator would let it cost.
    """

    job_id: str
    arrival: float
    needs: frozenset[str]
    hours: float
    hardness: float
    estimated_hours: float
    max_micros: int


@dataclass(frozen=True, slots=True)
class World:
    """A fleet and its work."""

    swarms: tuple[Swarm, ...]
    jobs: tuple[Job, ...]


def draw(scenario: Scenario, seed: int) -> World:
    """Return the day of a seed; the work does not change with the fleet."""
    roles = _roles(scenario, Random(f"{seed}/roles"))
    return World(_swarms(scenario, seed, roles), _jobs(scenario, Random(f"{seed}/jobs"), roles))


def _roles(scenario: Scenario, rng: Random) -> list[list[str]]:
    words = [f"skill-{n:02d}" for n in range(scenario.skills.vocabulary)]
    return [rng.sample(words, scenario.skills.per_role) for _ in range(scenario.skills.roles)]


def _swarms(scenario: Scenario, seed: int, roles: list[list[str]]) -> tuple[Swarm, ...]:
    kinds = [Kind.HONEST] * scenario.swarms
    places = Random(f"{seed}/rogues").sample(range(scenario.swarms), scenario.swarms)
    rogues = places[: round(scenario.rogues.share * scenario.swarms)]
    for place, kind in zip(rogues, cycle(ROGUES), strict=False):
        kinds[place] = kind
    return tuple(
        _swarm(scenario, Random(f"{seed}/swarm/{place}"), place, kind, roles)
        for place, kind in enumerate(kinds)
    )


def _swarm(
    scenario: Scenario, rng: Random, place: int, kind: Kind, roles: list[list[str]]
) -> Swarm:
    skills, prices, failures = scenario.skills, scenario.prices, scenario.failures
    role = roles[place % len(roles)]
    claimed = set(role)
    other = rng.choice(roles)
    if rng.random() < skills.generalists:
        claimed.update(other)
    words = sorted({f"skill-{n:02d}" for n in range(skills.vocabulary)} - claimed)
    if rng.random() < skills.lost and len(claimed) > 1:
        claimed.remove(rng.choice(sorted(claimed)))
    if rng.random() < skills.gained and words:
        claimed.add(rng.choice(words))
    quality, apart, pace = rng.gauss(), rng.gauss(), rng.gauss()
    chance = _logistic(log((1 - failures.rate) / failures.rate) + failures.spread * quality)
    shared = prices.follows_quality
    level = shared * quality + (1 - shared**2) ** 0.5 * apart
    usd = prices.median_usd * exp(prices.spread * level)
    has = frozenset(claimed)
    if kind is not Kind.HONEST:
        usd *= scenario.rogues.price
    if kind is Kind.PRETENDING:
        has = frozenset({rng.choice(sorted(claimed))})
    if kind is Kind.FAILING:
        chance = 1 - scenario.rogues.failing
    return Swarm(
        swarm_id=f"swarm-{place:03d}",
        kind=kind,
        claimed=frozenset(claimed),
        skills=has,
        hourly_micros=round(usd * MICROS),
        chance=chance,
        speed=exp(scenario.work.speed_spread * pace),
    )


def _jobs(scenario: Scenario, rng: Random, roles: list[list[str]]) -> tuple[Job, ...]:
    work = scenario.work
    arrivals = sorted(_arrival(scenario, rng) for _ in range(work.tasks))
    return tuple(_job(scenario, rng, number, at, roles) for number, at in enumerate(arrivals))


def _arrival(scenario: Scenario, rng: Random) -> float:
    """Return a time, by rejection: at the peak all are kept, elsewhere one of `peak`."""
    while True:
        at = rng.uniform(0, scenario.work.hours * HOUR)
        busy = int(at / HOUR) % 24 in _PEAK
        if busy or rng.random() * scenario.work.peak < 1:
            return at


def _job(scenario: Scenario, rng: Random, number: int, at: float, roles: list[list[str]]) -> Job:
    work = scenario.work
    needs = list(rng.choice(roles))
    if rng.random() < scenario.skills.modest and len(needs) > 1:
        needs.remove(rng.choice(needs))
    hours = work.median_minutes / 60 * exp(work.spread * rng.gauss())
    estimated = hours * exp(work.estimate_error * rng.gauss())
    usual = estimated * scenario.prices.median_usd * MICROS
    return Job(
        job_id=f"job-{number:05d}",
        arrival=at,
        needs=frozenset(needs),
        hours=hours,
        hardness=exp(scenario.failures.hardness * rng.gauss()),
        estimated_hours=estimated,
        max_micros=max(1, round(scenario.money.allowance * usual)),
    )


def _logistic(odds: float) -> float:
    return 1 / (1 + exp(-odds))
