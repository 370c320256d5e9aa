"""What a swarm is worth by what it has done: the formula, as pure functions.

    weight = 2 ^ -(age / half_life)                        of an attempt that ended so long ago
    good   = sum of weight * credit                        credit: 1 met, 1/2 late, 0 failed
    seen   = sum of weight
    reputation = (prior_weight * prior + good) / (prior_weight + seen)

This is the mean of a beta distribution after evidence that fades, with a prior of its own: the beta
reputation system of Jøsang and Ismail (15th Bled Electronic Commerce Conference, 2002), whose
forgetting factor is given by a half-life here.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from infrafabric_server.governor.policy.models import Reputing

STEPS = 1024
"""Reputations are ranked by in so many steps: a power of two, so that equal scores are equal."""


class Verdict(StrEnum):
    """How an attempt went, as far as its swarm is to be judged by it."""

    MET = "met"
    LATE = "late"
    FAILED = "failed"

    @property
    def credit(self) -> float:
        """What it counts for, 0 to 1."""
        return _CREDIT[self]


_CREDIT = {Verdict.MET: 1.0, Verdict.LATE: 0.5, Verdict.FAILED: 0.0}


class Evidence(BaseModel):
    """What was seen of a swarm, weighted as of `time`; `good` is at most `seen`."""

    model_config = ConfigDict(frozen=True)

    time: datetime
    good: float = 0.0
    seen: float = 0.0


def aged(evidence: Evidence, until: datetime, settings: Reputing) -> Evidence:
    """Return the evidence as it weighs at a time; at an earlier one it is as it is."""
    age = until - evidence.time
    if age.total_seconds() <= 0:
        return evidence
    weight = _weight(age / settings.half_life)
    return Evidence(time=until, good=evidence.good * weight, seen=evidence.seen * weight)


def dated(evidence: Evidence, now: datetime) -> Evidence:
    """Return the evidence as of now, if a clock that was set back since has dated it later."""
    return evidence if evidence.time <= now else evidence.model_copy(update={"time": now})


def added(
    evidence: Evidence | None, verdict: Verdict, ended: datetime, settings: Reputing
) -> Evidence:
    """Return the evidence with one attempt more, in whatever order attempts come."""
    known = evidence or Evidence(time=ended)
    known = aged(known, ended, settings)
    weight = _weight((known.time - ended) / settings.half_life)
    good = known.good + weight * verdict.credit
    return Evidence(time=known.time, good=good, seen=known.seen + weight)


def gathered(
    evidence: Evidence | None, verdicts: Sequence[Verdict], ended: datetime, settings: Reputing
) -> Evidence | None:
    """Return the evidence with several attempts more: what `added` makes of one after the other.

    Thousands may be summed in one turn of the event loop, so there is no model for each.
    """
    if not verdicts:
        return evidence
    known = aged(evidence or Evidence(time=ended), ended, settings)
    weight = _weight((known.time - ended) / settings.half_life)
    good = known.good + weight * sum(each.credit for each in verdicts)
    return Evidence(time=known.time, good=good, seen=known.seen + weight * len(verdicts))


def reputation(evidence: Evidence | None, now: datetime, settings: Reputing) -> float:
    """Return the reputation at a time, 0 to 1; without evidence it is the prior."""
    if evidence is None:
        return settings.prior
    known = aged(evidence, now, settings)
    weight = settings.prior_weight
    return (weight * settings.prior + known.good) / (weight + known.seen)


def ranked(value: float) -> float:
    """Return a reputation in whole steps, at least one: what the score is made of."""
    return max(1, round(value * STEPS)) / STEPS


def _weight(half_lives: float) -> float:
    return float(2.0**-half_lives)
