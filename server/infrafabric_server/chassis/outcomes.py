"""Notes how attempts end, in the transactions that end them."""

from datetime import datetime

from infrafabric_server.chassis import slo
from infrafabric_server.chassis.levels import Levels
from infrafabric_server.chassis.reputation import Verdict
from infrafabric_server.chassis.standing import Outcome
from infrafabric_server.clock import Clock
from infrafabric_server.store.view import View, Write


class OutcomeLog:
    """Makes the writes that note outcomes.

    An attempt has one key, whoever writes it and how often: it counts once. No two attempts write
    the same key, so none of them waits for another.
    """

    def __init__(self, outcomes: View[Outcome], clock: Clock, levels: Levels) -> None:
        self._outcomes = outcomes
        self._clock = clock
        self._levels = levels

    def completed(self, swarm_id: str, source: str, begun: datetime) -> Write:
        """Return the note of an attempt that was completed, on time or late.

        `source` tells the attempt from all others: 1 to 300 characters.
        """
        now = self._clock.now()
        late = slo.late(now - begun, self._levels.of(swarm_id))
        return self._note(swarm_id, source, Verdict.LATE if late else Verdict.MET, begun, now)

    def failed(self, swarm_id: str, source: str, begun: datetime) -> Write:
        """Return the note of an attempt that its swarm failed or lost."""
        return self._note(swarm_id, source, Verdict.FAILED, begun, self._clock.now())

    def _note(
        self, swarm_id: str, source: str, verdict: Verdict, begun: datetime, ended: datetime
    ) -> Write:
        outcome = Outcome(swarm_id=swarm_id, verdict=verdict, begin_time=begun, end_time=ended)
        return self._outcomes.put(source, outcome)
