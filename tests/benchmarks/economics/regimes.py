"""The ways of giving work that are compared, and what each of them has of the governor."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from infrafabric_server.governor.matching import Metric
from infrafabric_server.governor.policy.models import Breaking, Matching, Policy, Rule
from tests.benchmarks.economics.world import Job, Swarm

Choose = Callable[[Job, Sequence[Swarm]], Swarm | None]
"""Picks one of the free swarms, which come in the order in which they became free, or none."""


def first_idle() -> Choose:
    """Return the rule that takes the swarm that is free for longest."""
    return lambda _, free: free[0]


def cheapest() -> Choose:
    """Return the rule that takes the lowest price of an hour; of equal ones the first."""
    return lambda _, free: min(free, key=lambda swarm: swarm.hourly_micros)


def round_robin() -> Choose:
    """Return the rule that goes round the fleet and skips who is not free."""
    last = ""

    def choose(_: Job, free: Sequence[Swarm]) -> Swarm:
        nonlocal last
        found = min(free, key=lambda swarm: (swarm.swarm_id <= last, swarm.swarm_id))
        last = found.swarm_id
        return found

    return choose


def first_able() -> Choose:
    """Return the rule that takes the first idle swarm that registered all that the job needs."""
    return lambda job, free: next((swarm for swarm in free if job.needs <= swarm.claimed), None)


def informed() -> Choose:
    """Return the rule of who knows everything but chance.

    It takes honest swarms that can do all that the job needs, and of these the one that a
    success is likely to cost least with. Others wait.
    """

    def likely_cost(job: Job, swarm: Swarm) -> float:
        return swarm.hourly_micros / (swarm.speed * math.pow(swarm.chance, job.hardness))

    def choose(job: Job, free: Sequence[Swarm]) -> Swarm | None:
        fit = (swarm for swarm in free if swarm.honest and job.needs <= swarm.skills)
        return min(fit, key=lambda swarm: likely_cost(job, swarm), default=None)

    return choose


@dataclass(frozen=True, slots=True)
class Regime:
    """One way of giving work.

    `choose` makes the rule that picks swarms; None leaves that to the fabric. Without `limits`,
    nobody says what a task or a swarm may cost. `policy` is that of the fabric.
    """

    name: str
    policy: Policy
    limits: bool
    choose: Callable[[], Choose] | None = None


# What never opens.
_NEVER = Breaking(max_consecutive_failures=None, max_failure_rate=None)
_UNGOVERNED = Policy(breaker=_NEVER)
_ALL_OF_IT = Matching(metric=Metric.COVERAGE, min_match=1.0)
# A swarm of which an hour costs just what it may has an even chance to need more than that.
_MARGIN = Rule(
    name="margin",
    when="task.estimated_seconds * swarm.cost_per_hour_micros > task.max_cost_micros * 1800",
    deny="At its price the task would take more than half of what it may cost.",
)

COMPARED = (
    Regime("first-idle", _UNGOVERNED, limits=False, choose=first_idle),
    Regime("round-robin", _UNGOVERNED, limits=False, choose=round_robin),
    Regime("cheapest", _UNGOVERNED, limits=False, choose=cheapest),
    Regime("governor", Policy(), limits=True),
)
"""The four ways; the governor with its default policy."""

CONTROLS = (
    Regime("governor-coverage", Policy(matching=_ALL_OF_IT), limits=True),
    Regime("first-able", _UNGOVERNED, limits=False, choose=first_able),
    Regime("informed", _UNGOVERNED, limits=False, choose=informed),
)
"""A policy that asks for all that a task needs, a plain filter, and what nobody could do better."""

PARTS = (
    Regime("matching-only", _UNGOVERNED, limits=False),
    Regime("first-idle-guarded", Policy(), limits=True, choose=first_idle),
    Regime("governor-margin", Policy(matching=_ALL_OF_IT, rules=(_MARGIN,)), limits=True),
)
"""Matching without breakers and budgets, these without it, and a rule of the policy on top."""

REGIMES: Mapping[str, Regime] = {each.name: each for each in (*COMPARED, *CONTROLS, *PARTS)}
