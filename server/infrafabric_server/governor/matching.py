"""Which swarm fits which task: the formula, as pure functions on exact numbers.

    match = shared capabilities / all capabilities that either has        (Jaccard)
            shared capabilities / all that are required                   (coverage)
    score = match * reputation / cost per hour in US dollars

Everything faster in this package answers what these functions answer.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from math import ceil

from infrafabric_server.limits import MAX_CAPABILITIES

MIN_MATCH = Fraction(7, 10)
"""Least match with which a swarm qualifies."""

MICROS = 1_000_000
_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)


def coverage(needs: frozenset[str], capabilities: frozenset[str]) -> Fraction:
    """Return the share of the needs that the capabilities meet; 0 when nothing is needed."""
    if not needs:
        return Fraction(0)
    return Fraction(len(needs & capabilities), len(needs))


class Metric(StrEnum):
    """How a requirement and a swarm's capabilities are compared."""

    JACCARD = "jaccard"
    COVERAGE = "coverage"


@dataclass(frozen=True)
class Comparison:
    """Who qualifies: swarms of at least a match, which is above 0 and at most 1."""

    metric: Metric = Metric.JACCARD
    threshold: Fraction = MIN_MATCH

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold}: must be above 0, at most 1")

    def match(self, required: frozenset[str], capabilities: frozenset[str]) -> Fraction:
        """Return the match of a swarm, 0 to 1; 1 when nothing is required."""
        return Fraction(*self._parts(required, capabilities))

    def qualifies(self, required: frozenset[str], capabilities: frozenset[str]) -> bool:
        """Tell whether the match reaches the threshold; 7 of 10 reaches 7/10."""
        part, whole = self._parts(required, capabilities)
        return self.threshold.denominator * part >= self.threshold.numerator * whole

    def _parts(self, required: frozenset[str], capabilities: frozenset[str]) -> tuple[int, int]:
        if not required:
            return 1, 1
        shared = len(required & capabilities)
        if self.metric is Metric.COVERAGE:
            return shared, len(required)
        return shared, len(required) + len(capabilities) - shared

    @cached_property
    def least(self) -> Fraction:
        """The smallest possible match that reaches the threshold.

        Two sets have at most twice as many capabilities as one; so a match is a fraction of
        small numbers, whatever the threshold, and is compared in them exactly.
        """
        return min(
            Fraction(ceil(self.threshold * either), either)
            for either in range(1, 2 * MAX_CAPABILITIES + 1)
        )


DEFAULT = Comparison()
"""That of a policy that says nothing about it."""


def score(match: Fraction, reputation: float, cost_per_hour_micros: int) -> float:
    """Return the score by which swarms are ranked, higher is better.

    It is per US dollar of an hour; a swarm that costs nothing has the score of one dollar,
    and ranks before every swarm with a price. With a reputation in steps of 1/1024 each step but
    the division is exact, so that equal scores are equal numbers.
    """
    price = cost_per_hour_micros or MICROS
    return match.numerator * reputation * MICROS / (match.denominator * price)


def hourly_cap(max_cost_micros: int | None, estimated_duration: timedelta | None) -> int | None:
    """Return the most that an hour of a swarm may cost, in micro-US-dollars.

    A swarm is within it exactly when its cost per hour times the estimated duration is
    within the task's cost. None means no limit: without both numbers there is nothing to
    compare, and work that takes no time costs nothing.
    """
    if max_cost_micros is None or not estimated_duration:
        return None
    return max_cost_micros * (_HOUR // _MICROSECOND) // (estimated_duration // _MICROSECOND)
