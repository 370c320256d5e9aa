"""IFCoordinator: who is known, who does what, and who cannot go on."""

from typing import Protocol

from infrafabric_server.coordinator.background import Background
from infrafabric_server.coordinator.blockers import Blockers
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.costs import Costs
from infrafabric_server.coordinator.creation import Creation
from infrafabric_server.coordinator.endings import Endings
from infrafabric_server.coordinator.help.requests import HelpRequests
from infrafabric_server.coordinator.models import BlockerAlert, BlockerReport, ClaimOutcome, Task
from infrafabric_server.coordinator.placing import Placing
from infrafabric_server.coordinator.records import Records
from infrafabric_server.coordinator.registration import Joining, Registration
from infrafabric_server.coordinator.sessions import Sessions
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.store.mirror import Write


class IFCoordinator(Protocol):
    """Hands each task to exactly one swarm and tells it at once."""

    async def register_swarm(
        self, swarm_id: str, capabilities: frozenset[str] | None = None
    ) -> SwarmProfile:
        """Make a swarm known, or replace its capabilities (None leaves them).

        Raises pydantic.ValidationError for a bad id or capability, LIMIT_REACHED.
        """
        ...

    async def claim_task(self, swarm_id: str, task_id: str) -> ClaimOutcome:
        """Claim a task outside a session: won by exactly one, for the claim time to live."""
        ...

    async def push_task_to_swarm(self, swarm_id: str, task_id: str) -> Task:
        """Offer an available task to one swarm down its stream.

        Raises TASK_NOT_FOUND, TASK_ENDED, TASK_NOT_AVAILABLE, SWARM_NOT_FOUND, NO_SESSION.
        """
        ...

    async def detect_blocker(self, swarm_id: str, info: BlockerReport) -> BlockerAlert:
        """Bring before the orchestrator that a swarm cannot go on; park the task it names.

        Raises SWARM_NOT_FOUND and, with a task, STALE_ATTEMPT, NOT_OWNER, TASK_NOT_CLAIMED,
        TASK_ENDED.
        """
        ...


class Coordinator:
    """The use cases of the coordinator, by subject; `main` connects them."""

    def __init__(
        self,
        records: Records,
        registration: Registration,
        creation: Creation,
        claims: Claims,
        placing: Placing,
        blockers: Blockers,
        endings: Endings,
        sessions: Sessions,
        background: Background,
        capacity: Capacity,
        costs: Costs,
        help_requests: HelpRequests,
    ) -> None:
        self.records = records
        self.registration = registration
        self.creation = creation
        self.claims = claims
        self.placing = placing
        self.blocking = blockers
        self.endings = endings
        self.sessions = sessions
        self.background = background
        self._capacity = capacity
        self.costs = costs
        self.help_requests = help_requests
        self.tasks = records.tasks
        self.blockers = records.blockers
        self.help = records.help

    def held_by(self, swarm_id: str) -> list[str]:
        """Return the ids of the tasks that a swarm holds, sorted."""
        return sorted(self._capacity.holdings(swarm_id))

    async def register_swarm(
        self, swarm_id: str, capabilities: frozenset[str] | None = None
    ) -> SwarmProfile:
        """See IFCoordinator."""
        return await self.registration.register(Joining(swarm_id, capabilities))

    async def introduce(
        self, swarm_id: str, capabilities: frozenset[str] | None, first: Write, *more: Write
    ) -> bool:
        """Make a swarm known with `first`, in one transaction; False if it is known already."""
        return await self.registration.introduce(Joining(swarm_id, capabilities), first, *more)

    async def claim_task(self, swarm_id: str, task_id: str) -> ClaimOutcome:
        """See IFCoordinator."""
        return await self.claims.claim(swarm_id, task_id)

    async def push_task_to_swarm(self, swarm_id: str, task_id: str) -> Task:
        """See IFCoordinator."""
        return await self.placing.push(swarm_id, task_id)

    async def detect_blocker(self, swarm_id: str, info: BlockerReport) -> BlockerAlert:
        """See IFCoordinator."""
        return await self.blocking.report(swarm_id, info)

    async def resolve_blocker(self, swarm_id: str, task_id: str, resolution: str) -> BlockerAlert:
        """Close an incident and give the parked task back. Raises BLOCKER_NOT_FOUND."""
        return await self.blocking.resolve(swarm_id, task_id, resolution)

    async def escalate_blocker(self, alert: BlockerAlert) -> None:
        """Bring an incident that lasts before the orchestrator once more."""
        await self.blocking.escalate(alert)
