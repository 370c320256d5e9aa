"""Who may be asked for help: idle swarms that cover enough of what is needed."""

import asyncio
from collections.abc import Iterable
from datetime import datetime

from infrafabric_server.coordinator.help.involved import Involved
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.models import AgentStatus, SessionRole, Status
from infrafabric_server.governor.gate import Gate
from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.governor.helpers import Helper as IdleSwarm
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.roster import Roster

# Swarms that are looked at in one turn of the event loop: some milliseconds.
_TURN = 1_000


class Candidates:
    """Finds them by the index of capabilities: not every idle swarm is looked at."""

    def __init__(
        self,
        fleet: Fleet,
        roster: Roster,
        gate: Gate,
        involved: Involved,
        policies: PolicyBook,
    ) -> None:
        self._fleet = fleet
        self._roster = roster
        self._gate = gate
        self._involved = involved
        self._policies = policies

    def available(self, swarm_id: str) -> bool:
        """Tell whether a swarm waits for work, has a session, and may be given some."""
        return (
            waiting_since(self._fleet.statuses.get(swarm_id)) is not None
            and self.attends(swarm_id)
            and not self._involved.helping(swarm_id)
            and self._gate.closed(swarm_id) is None
        )

    def attends(self, swarm_id: str) -> bool:
        """Tell whether a swarm has a session that takes work, somewhere."""
        session = self._fleet.sessions.get(swarm_id)
        return session is not None and session.role is SessionRole.WORKER

    def covers(self, request: HelpRequest, swarm_id: str) -> bool:
        """Tell whether a swarm is registered and covers enough of what is needed."""
        profile = self._fleet.swarms.get(swarm_id)
        return profile is not None and self._policies.current.policy.help.comparison.qualifies(
            request.needs, profile.capabilities
        )

    def suits(self, request: HelpRequest, swarm_id: str) -> bool:
        """Tell whether a swarm that is asked may still be asked."""
        return self.covers(request, swarm_id) and self.available(swarm_id)

    async def of(self, request: HelpRequest, among: Iterable[str] | None = None) -> list[IdleSwarm]:
        """Return who could be asked beside those that are, in no order.

        They are looked for `among` some swarms, None for all.
        """
        if among is None:
            comparison = self._policies.current.policy.help.comparison
            # The roster changes while others have their turn.
            among = list(self._roster.qualified(request.needs, comparison=comparison))
        found: list[IdleSwarm] = []
        for number, swarm_id in enumerate(among, 1):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            profile = self._fleet.swarms.get(swarm_id)
            since = waiting_since(self._fleet.statuses.get(swarm_id))
            if profile is None or since is None or swarm_id in request.swarm_ids:
                continue
            elsewhere = {*self._involved.asked(swarm_id)} - {request.help_id}
            if not elsewhere and self.available(swarm_id):
                found.append(IdleSwarm(swarm_id, profile.capabilities, since.timestamp()))
        return found


def waiting_since(status: AgentStatus | None) -> datetime | None:
    """Return since when a swarm waits for work, None for one that does not."""
    if status is None or status.status is not Status.IDLE:
        return None
    return status.waiting_since
