"""What the chassis is to others, and what it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from infrafabric_server.chassis.contract import SLODefinition
from infrafabric_server.chassis.credentials.models import Endpoint
from infrafabric_server.chassis.models import Execution, LoadedSwarm
from infrafabric_server.store.mirror import Write


@dataclass(frozen=True, slots=True)
class Wanted:
    """The contract that a swarm is to be loaded with, as its caller wrote it.

    `limits` has those that are named, by the name of the field.
    """

    limits: Mapping[str, int | timedelta] = field(default_factory=dict)
    slo: SLODefinition = field(default_factory=SLODefinition)
    allowed_calls: frozenset[str] = frozenset()
    endpoints: tuple[Endpoint, ...] = ()
    version: str = ""


class IFChassis(Protocol):
    """Runs foreign code in a box."""

    async def load_swarm(self, swarm_id: str, module: bytes | str, contract: Wanted) -> LoadedSwarm:
        """Give a swarm a module, or the stored one of a SHA-256, under a contract.

        Raises InvalidField, SWARM_NOT_FOUND, MODULE_NOT_FOUND, MODULE_REFUSED, LIMIT_REACHED,
        CHASSIS_CLOSED.
        """
        ...

    async def execute_task(self, swarm_id: str, task_id: str, input_json: str) -> Execution:
        """Run the module of a swarm once; cancelling the call ends the run.

        Raises SWARM_NOT_FOUND, SWARM_NOT_LOADED, BREAKER_OPEN, QUEUE_FULL, MODULE_REFUSED,
        CHASSIS_CLOSED.
        """
        ...


class Outcomes(Protocol):
    """Makes the writes by which runs count for the service level of their swarm."""

    def completed(self, swarm_id: str, source: str, begun: datetime) -> Write:
        """Return the note of a run that succeeded; `source` tells it from all others."""
        ...

    def failed(self, swarm_id: str, source: str, begun: datetime) -> Write:
        """Return the note of a run that its swarm failed."""
        ...
