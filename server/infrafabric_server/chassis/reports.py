"""How swarms stand at this moment: service levels and reputations, for whoever asks."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from infrafabric_server.chassis import slo, standing
from infrafabric_server.chassis.levels import Levels
from infrafabric_server.chassis.reputation import aged, reputation
from infrafabric_server.chassis.reputations import Reputations
from infrafabric_server.chassis.slo import Objective, Slice
from infrafabric_server.chassis.standing import Point, Standing
from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.governor.policy.models import Reputing, ServiceLevel


@dataclass(frozen=True, slots=True)
class SloReport:
    """How a swarm keeps its service level; `counts` is what was counted since `counts.time`.

    `median` and `p99` are of the completed attempts, at most 19 % too long; None without any.
    """

    swarm_id: str
    level: ServiceLevel
    counts: Slice
    median: timedelta | None
    p99: timedelta | None
    objectives: tuple[Objective, ...]


@dataclass(frozen=True, slots=True)
class ReputationReport:
    """What a swarm is worth: `value` exactly, `ranked` as it is in the score now.

    `good` of `seen` attempts count, by their weight at `time`.
    """

    swarm_id: str
    time: datetime
    value: float
    ranked: float
    good: float
    seen: float
    settings: Reputing
    history: tuple[Point, ...]


class Reports:
    """Reads standings, with the outcomes that are not counted into them yet."""

    def __init__(
        self, fleet: Fleet, reputations: Reputations, levels: Levels, clock: Clock
    ) -> None:
        self._fleet = fleet
        self._reputations = reputations
        self._levels = levels
        self._clock = clock

    def slo(self, swarm_id: str) -> SloReport:
        """Return how a swarm keeps its service level. Raises SWARM_NOT_FOUND."""
        found = self.find(swarm_id)
        if found is None:
            raise _unknown(swarm_id)
        return found

    def find(self, swarm_id: str) -> SloReport | None:
        """Return how a swarm keeps its service level, None for one that is not known."""
        now, level = self._clock.now(), self._levels.of(swarm_id)
        known = self._standing(swarm_id, now)
        if known is None:
            return None
        window = standing.present_window(known, now, level)
        counts = slo.total(window, now, level)
        return SloReport(
            swarm_id=swarm_id,
            level=level,
            counts=counts,
            median=slo.quantile(counts.latencies, 0.5),
            p99=slo.quantile(counts.latencies, slo.ON_TIME),
            objectives=tuple(slo.objectives(window, now, level, watched_since=known.watched_since)),
        )

    def page(self, after: str, limit: int) -> list[str]:
        """Return registered swarms by id, after an id."""
        return [entry.id for entry in self._fleet.swarms.page(after, limit)]

    def reputation(self, swarm_id: str) -> ReputationReport:
        """Return what a swarm is worth and was. Raises SWARM_NOT_FOUND."""
        now, settings = self._clock.now(), self._levels.reputing
        faded = self._reputations.fading.now()
        known = self._standing(swarm_id, now)
        if known is None:
            raise _unknown(swarm_id)
        seen = None if known.evidence is None else aged(known.evidence, faded, settings)
        return ReputationReport(
            swarm_id=swarm_id,
            time=now,
            value=reputation(seen, faded, settings),
            ranked=self._reputations.of(swarm_id),
            good=0.0 if seen is None else seen.good,
            seen=0.0 if seen is None else seen.seen,
            settings=settings,
            history=known.history,
        )

    def _standing(self, swarm_id: str, now: datetime) -> Standing | None:
        stored = self._reputations.standings.get(swarm_id)
        if stored is None and swarm_id not in self._fleet.swarms:
            return None
        level, session = self._levels.of(swarm_id), self._fleet.sessions.get(swarm_id)
        open_time = None if session is None else session.open_time
        known = standing.attended(stored or Standing(), open_time, now, level)
        outcomes = self._reputations.uncounted(swarm_id).values()
        if not outcomes:
            return known
        faded = self._reputations.fading.now()
        return standing.counted(known, outcomes, now, faded, level, self._levels.reputing)


def _unknown(swarm_id: str) -> FabricError:
    return FabricError(Reason.SWARM_NOT_FOUND, f"no swarm has the id {swarm_id}")
