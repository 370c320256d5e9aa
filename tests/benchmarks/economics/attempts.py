"""What comes of an attempt: the truth that nobody who hands out work knows."""

from dataclasses import dataclass
from enum import StrEnum
from math import exp
from random import Random

from tests.benchmarks.economics.model import Scenario
from tests.benchmarks.economics.world import Job, Kind, Swarm


class Ending(StrEnum):
    """How an attempt ends, if it is let."""

    SOUND = "sound"
    WRONG = "wrong"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Luck:
    """What chance has in store for an attempt, whoever makes it: numbers from 0 to 1, and a factor.

    Policies that are compared meet the same luck at the same attempt of the same job.
    """

    success: float
    unnoticed: float
    used: float
    noise: float


@dataclass(frozen=True, slots=True)
class Course:
    """What an attempt does until it ends by itself: time in hours, money in micro-US-dollars.

    `unfit` tells that the swarm lacks something that the job needs.
    """

    hours: float
    micros: int
    ending: Ending
    unfit: bool


def luck(scenario: Scenario, seed: int, job_id: str, number: int) -> Luck:
    """Return the luck of the attempt at a job that has so many before it."""
    rng = Random(f"{seed}/{job_id}/{number}")
    noise = exp(scenario.work.noise * rng.gauss())
    return Luck(rng.random(), rng.random(), rng.random(), noise)


def course(scenario: Scenario, swarm: Swarm, job: Job, chance: Luck, ceiling: int | None) -> Course:
    """Return how an attempt goes; `ceiling` is what the task may cost, None where nobody says."""
    rogues = scenario.rogues
    missing = len(job.needs - swarm.skills)
    if swarm.kind is Kind.BURNING:
        hours = job.estimated_hours * rogues.timeout
        micros = _cost(hours, swarm.hourly_micros * rogues.burning)
        return Course(hours, micros, Ending.FAILED, unfit=missing > 0)
    likely = swarm.chance**job.hardness * scenario.skills.residual**missing
    hours = job.hours * chance.noise / swarm.speed
    ending = Ending.SOUND
    if chance.success >= likely:
        pretends = swarm.kind is Kind.PRETENDING
        silent = rogues.pretending if pretends else scenario.failures.unnoticed
        ending = Ending.WRONG if chance.unnoticed < silent else Ending.FAILED
    if ending is Ending.FAILED:
        least = scenario.failures.least_used
        hours *= least + (1 - least) * chance.used
    greedy = rogues.overspending if swarm.kind is Kind.OVERSPENDING else 1.0
    micros = _cost(hours, swarm.hourly_micros * greedy)
    if swarm.honest and ceiling is not None and micros > ceiling:
        return Course(hours * ceiling / micros, ceiling, Ending.FAILED, unfit=missing > 0)
    return Course(hours, micros, ending, unfit=missing > 0)


def _cost(hours: float, hourly_micros: float) -> int:
    return max(1, round(hours * hourly_micros))
