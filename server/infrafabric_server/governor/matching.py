"""Which swarm fits which task: the formula, as pure functions on exact numbers.

    match = shared capabilities / all capabilities that either has        (Jaccard)
    score = match * reputation / cost per hour in US dollars

Everything faster in this package answers what these functions answer.
"""

from datetime import timedelta
from fractions import Fraction

MIN_MATCH = Fraction(7, 10)
"""Least match with which a swarm qualifies."""

MICROS = 1_000_000
_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)


def similarity(required: frozenset[str], capabilities: frozenset[str]) -> Fraction:
    """Return the match of a requirement and a swarm's capabilities, 0 to 1.

    Whoever is asked for nothing matches fully, whatever it can do besides.
    """
    if not required:
        return Fraction(1)
    shared = len(required & capabilities)
    return Fraction(shared, len(required) + len(capabilities) - shared)


def qualifies(
    required: frozenset[str], capabilities: frozenset[str], *, threshold: Fraction = MIN_MATCH
) -> bool:
    """Tell whether the match reaches the threshold; 7 of 10 reaches 7/10."""
    if not required:
        return True
    shared = len(required & capabilities)
    either = len(required) + len(capabilities) - shared
    return threshold.denominator * shared >= threshold.numerator * either


def score(match: Fraction, reputation: float, cost_per_hour_micros: int) -> float:
    """Return the score by which swarms are ranked, higher is better.

    It is per US dollar of an hour; a swarm that costs nothing has the score of one dollar,
    and ranks before every swarm with a price. While the reputation is 1, each step but the
    division is exact, so that equal scores are equal numbers.
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


def coverage(needs: frozenset[str], capabilities: frozenset[str]) -> Fraction:
    """Return the share of the needs that the capabilities meet; 0 when nothing is needed."""
    if not needs:
        return Fraction(0)
    return Fraction(len(needs & capabilities), len(needs))
