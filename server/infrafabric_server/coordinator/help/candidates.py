"""Who may be asked for help: idle swarms that cover enough of what is needed."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from infrafabric_server.coordinator.help.involved import Involved
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.governor.gate import Gate
from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.governor.helpers import Helper as IdleSwarm
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.roster import Roster

# Swarms that are looked at in one turn of the event loop: some milliseconds.
_TURN = 1_000


class Idle(Protocol):
    """Who waits for work."""

    def position(self, swarm_id: str) -> int:
        """Return the place of a swarm among those that wait, from 1; 0 if it does not."""
        ...


class Candidates:
    """Finds them by the index of capabilities: not every idle swarm is looked at."""

    def __init__(
        self,
        fleet: Fleet,
        roster: Roster,
        idle: Idle,
        gate: Gate,
        involved: Involved,
        policies: PolicyBook,
    ) -> None:
        self._fleet = fleet
        self._roster = roster
        self._idle = idle
        self._gate = gate
        self._involved = involved
        self._policies = policies

    def available(self, swarm_id: str) -> bool:
        """Tell whether a swarm waits for work, has a session, and may be given some."""
        return (
            self._idle.position(swarm_id) > 0
            and self.attends(swarm_id)
            and self._gate.closed(swarm_id) is None
            and not self._involved.helping(swarm_id)
        )

    def attends(self, swarm_id: str) -> bool:
        """Tell whether a swarm has a session that takes work, somewhere."""
        session = self._fleet.sessions.get(swarm_id)
        return session is not None and session.role is SessionRole.WORKER

    def suits(self, request: HelpRequest, swarm_id: str) -> bool:
        """Tell whether a swarm that is asked may still be asked."""
        profile = self._fleet.swarms.get(swarm_id)
        return (
            profile is not None
            and self._policies.current.policy.help.comparison.qualifies(
                request.needs, profile.capabilities
            )
            and self.available(swarm_id)
        )

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
            if profile is None or swarm_id in request.swarm_ids:
                continue
            if self.available(swarm_id) and not {*self._involved.asked(swarm_id)} - {
                request.help_id
            }:
                since = self._idle.position(swarm_id)
                found.append(IdleSwarm(swarm_id, profile.capabilities, since))
        return found
