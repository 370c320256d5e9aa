"""What goes into a simulated day: every assumption, with its unit, its bounds and its reason.

All of it is assumed: there is no public record of a day of such a fleet. What is uncertain is
varied in `families`.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_FROZEN = ConfigDict(frozen=True, extra="forbid")

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1000)]
Spread = Annotated[float, Field(ge=0, le=3)]
"""The standard deviation of a logarithm: 0.5 puts two thirds within a factor of 1.65."""


class Skills(BaseModel):
    """Who can do what, and what is needed.

    A role is `per_role` of `vocabulary` capabilities, drawn at random, so that roles overlap. A
    swarm has those of its role, or of two roles if it is a generalist; with the chance `lost` it
    lacks one of them and with `gained` it has another one. A task needs those of a role, with the
    chance `modest` one less. For each capability that it needs and the swarm lacks, the chance of
    success is multiplied by `residual`.
    """

    model_config = _FROZEN

    vocabulary: Annotated[int, Field(ge=1, le=64)] = 12
    roles: Annotated[int, Field(ge=1, le=64)] = 6
    per_role: Annotated[int, Field(ge=1, le=16)] = 4
    generalists: Share = 0.2
    lost: Share = 0.25
    gained: Share = 0.25
    modest: Share = 0.4
    residual: Share = 0.3

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.per_role > self.vocabulary:
            raise ValueError("per_role must be at most vocabulary")
        return self


class Prices(BaseModel):
    """What an hour costs, in US dollars: log-normal around a median.

    `follows_quality` is the correlation of the price with how seldom a swarm fails: one gets some
    of what one pays for.
    """

    model_config = _FROZEN

    median_usd: Positive = 2.0
    spread: Spread = 0.5
    follows_quality: Annotated[float, Field(ge=-1, le=1)] = 0.5


class Work(BaseModel):
    """How much there is to do and when.

    Tasks arrive over `hours` at random, from 8 to 18 o'clock `peak` times as often. What one takes
    is log-normal, in minutes of a swarm of the usual speed; swarms differ by `speed_spread`, and
    each attempt by `noise`. Who creates it estimates it with an error of `estimate_error`. What is
    not done `overtime` hours after the last arrivals is given up.
    """

    model_config = _FROZEN

    tasks: Annotated[int, Field(ge=1, le=100_000)] = 4_000
    hours: Annotated[float, Field(gt=0, le=72)] = 24.0
    overtime: Annotated[float, Field(ge=0, le=72)] = 6.0
    peak: Annotated[float, Field(ge=1, le=10)] = 2.0
    median_minutes: Positive = 4.5
    spread: Spread = 0.75
    speed_spread: Spread = 0.2
    noise: Spread = 0.25
    estimate_error: Spread = 0.3


class Failures(BaseModel):
    """How often a swarm fails at what it is fit for, and what is lost then.

    `rate` is that of the usual swarm at the usual task; `spread` is between swarms, on the
    logarithm of the odds, and `hardness` between tasks: a hard one multiplies the logarithm of the
    chance. A failed attempt has used a share of what a success would have, evenly between
    `least_used` and 1. Of the failures, `unnoticed` are reported as done; a review finds out.
    """

    model_config = _FROZEN

    rate: Annotated[float, Field(gt=0, lt=1)] = 0.1
    spread: Spread = 0.5
    hardness: Spread = 0.5
    least_used: Share = 0.2
    unnoticed: Share = 0.1


class Rogues(BaseModel):
    """Swarms that do harm: a share of the fleet, in equal parts of four kinds.

    The failing one can do its work and fails at `failing` of it. The overspending one works well
    and spends `overspending` times its price. The burning one never comes to an end: it spends
    `burning` times its price until it is stopped, or until it stops itself after `timeout` times
    what the task was estimated at. The pretending one registers a role of which it has one
    capability, and reports `pretending` of its failures as done. They ask for `price` times what
    others do. None of them stops when told to.
    """

    model_config = _FROZEN

    share: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    price: Positive = 1.0
    failing: Share = 0.95
    overspending: Positive = 4.0
    burning: Positive = 3.0
    timeout: Positive = 4.0
    pretending: Share = 0.5


class People(BaseModel):
    """What the people do who watch.

    They look at an open breaker after `answer_hours` and close it for an honest swarm; that of a
    rogue they leave open, but for the chance `mistaken`. A review finds a wrong result after
    `review_hours`, and has the work done again, at most `reviews` times for a task.
    """

    model_config = _FROZEN

    answer_hours: Positive = 1.0
    mistaken: Share = 0.0
    review_hours: Positive = 1.0
    reviews: Annotated[int, Field(ge=0, le=10)] = 2


class Money(BaseModel):
    """What is allowed where there are budgets.

    A task may cost `allowance` times what its estimate costs at the median price, and a swarm may
    spend `day` times what a day of its work costs at its price. An honest swarm gives up a task
    that has used all it may cost.
    """

    model_config = _FROZEN

    allowance: Positive = 3.0
    day: Positive = 1.0


class Scenario(BaseModel):
    """One family of days; a seed makes a day of it."""

    model_config = _FROZEN

    name: Annotated[str, Field(min_length=1, max_length=40)] = "base"
    swarms: Annotated[int, Field(ge=1, le=1_000)] = 40
    skills: Skills = Skills()
    prices: Prices = Prices()
    work: Work = Work()
    failures: Failures = Failures()
    rogues: Rogues = Rogues()
    people: People = People()
    money: Money = Money()

    def part(self, scale: float) -> "Scenario":
        """Return the first part of the day, with its share of the tasks; `scale` is up to 1."""
        tasks = max(1, round(self.work.tasks * scale))
        changes = {"tasks": tasks, "hours": self.work.hours * scale}
        return self.model_copy(update={"work": self.work.model_copy(update=changes)})
