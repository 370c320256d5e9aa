"""How a swarm stands, as it is stored, and how attempts and sessions change it: pure functions."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from infrafabric_server.chassis import slo
from infrafabric_server.chassis.reputation import Evidence, Verdict, added, aged, dated, reputation
from infrafabric_server.chassis.slo import Window
from infrafabric_server.governor.policy.models import Reputing, ServiceLevel
from infrafabric_server.limits import Identifier

_FROZEN = ConfigDict(frozen=True)

MAX_POINTS = 64
"""Points of the history of a reputation; they reach back two half-lives."""

_POINTS_PER_HALF_LIFE = 32
# Evidence of a swarm that is gone is dropped when it weighs less than half an attempt.
_LITTLE = 0.5


class Outcome(BaseModel):
    """How an attempt ended; stored under `outcomes/<source>` by what ended it, until it is counted.

    `verdict` is that of the service level that held then.
    """

    model_config = _FROZEN

    swarm_id: Identifier
    verdict: Verdict
    begin_time: datetime
    end_time: datetime

    @property
    def latency(self) -> timedelta:
        """How long it took; not below zero, even when a clock was set back meanwhile."""
        return max(timedelta(0), self.end_time - self.begin_time)


class Point(NamedTuple):
    """The reputation of a swarm at the end of a stretch of time, and how much was seen of it."""

    time: datetime
    reputation: float
    seen: float


class Standing(BaseModel):
    """How a swarm stands; stored under `reputation/<swarm_id>`, written by the replica that leads.

    `window` has what counts for its service levels, `evidence` what counts for its reputation.
    `watched_since` is when its first session began, `up_since` when the present one did.
    """

    model_config = _FROZEN

    evidence: Evidence | None = None
    window: Window = ()
    watched_since: datetime | None = None
    up_since: datetime | None = None
    history: tuple[Point, ...] = ()


def counted(
    standing: Standing,
    outcomes: Iterable[Outcome],
    now: datetime,
    faded: datetime,
    level: ServiceLevel,
    reputing: Reputing,
) -> Standing:
    """Return the standing with attempts counted, in whatever order they come.

    `now` is the time of day, by which service levels and the history go; reputations fade by
    `faded`, which no clock sets forward or back, and count an attempt as of when it is heard of.
    """
    slices = list(standing.window)
    evidence = None if standing.evidence is None else dated(standing.evidence, faded)
    for each in outcomes:
        evidence = added(evidence, each.verdict, faded, reputing)
        slices.append(slo.attempt(each.verdict, each.latency, min(each.end_time, now)))
    window = slo.merged(slices, now, level)
    changed = standing.model_copy(update={"evidence": evidence, "window": window})
    return _pointed(changed, now, faded, reputing)


def attended(
    standing: Standing, open_time: datetime | None, now: datetime, level: ServiceLevel
) -> Standing:
    """Return the standing with the session that the swarm has now; None if it has none."""
    if (standing.up_since is None) is (open_time is None):
        return standing
    if open_time is not None:
        since = min(open_time, now)
        return standing.model_copy(
            update={"up_since": since, "watched_since": standing.watched_since or since}
        )
    window = present_window(standing, now, level)
    return standing.model_copy(update={"up_since": None, "window": window})


def present_window(standing: Standing, now: datetime, level: ServiceLevel) -> Window:
    """Return the window with the time since the present session began."""
    since = standing.up_since
    up = [] if since is None else slo.been_up(since, now, level)
    return slo.merged((*standing.window, *up), now, level)


def negligible(standing: Standing, faded: datetime, settings: Reputing) -> bool:
    """Tell whether what was seen of a swarm has faded by a time."""
    if standing.evidence is None:
        return True
    return aged(standing.evidence, faded, settings).seen < _LITTLE


def _pointed(standing: Standing, now: datetime, faded: datetime, settings: Reputing) -> Standing:
    """Return the standing with its present reputation as the newest point of its history."""
    begin = slo.slice_begin(now, settings.half_life / _POINTS_PER_HALF_LIFE)
    earlier = (each for each in standing.history if each.time < begin)
    known = standing.evidence
    seen = 0.0 if known is None else aged(known, faded, settings).seen
    value = reputation(known, faded, settings)
    point = Point(now, round(value, 6), round(seen, 6))
    return standing.model_copy(update={"history": (*earlier, point)[-MAX_POINTS:]})
