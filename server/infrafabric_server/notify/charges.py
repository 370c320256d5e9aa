"""Charges what swarms report in their statuses, which have no other way to say what they spend."""

from pydantic import JsonValue

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.settlement import Ledger
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.optimise.models import Cost
from infrafabric_server.store.mirror import Write
from infrafabric_server.witness.outbox import Outbox

REPORTED = "reported"
"""The operation under which the rise of a reported total is charged."""


class Charges:
    """Makes what charges a rise, for the transaction of the status that has it."""

    def __init__(self, ledger: Ledger, fleet: Fleet, outbox: Outbox, clock: Clock) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._outbox = outbox
        self._clock = clock

    def check(self) -> None:
        """Raise OUTBOX_FULL while no charge can be recorded."""
        self._outbox.check()

    def rise(self, swarm_id: str, micros: int) -> list[Write]:
        """Return the ledger's entry of a rise and its witness entry; nothing for 0."""
        if not micros:
            return []
        profile = self._fleet.swarms.get(swarm_id)
        cost = Cost(
            swarm_id=swarm_id,
            operation=REPORTED,
            micros=micros,
            time=self._clock.now(),
            model="" if profile is None else profile.model,
        )
        details: dict[str, JsonValue] = {"operation": REPORTED, "cost_micros": micros}
        fact = self._outbox.draft("notify", "cost_tracked", swarm_id=swarm_id, details=details)
        return [self._ledger.entry(cost), fact]
