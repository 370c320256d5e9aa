"""What notify needs of the coordinator."""

from typing import Protocol

from infrafabric_server.coordinator.models import BlockerAlert, BlockerReport, Task
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.store.mirror import View, Write


class Coordinator(Protocol):
    """The part of the coordinator that statuses have to do with."""

    @property
    def tasks(self) -> View[Task]:
        """The live tasks."""
        ...

    @property
    def blockers(self) -> View[BlockerAlert]:
        """The blockers, by `<swarm_id>/<task_id or ->`; resolved ones for a while."""
        ...

    @property
    def help(self) -> View[HelpRequest]:
        """The requests for help; ended ones for a while."""
        ...

    async def register_swarm(
        self, swarm_id: str, capabilities: frozenset[str] | None = None
    ) -> SwarmProfile:
        """Make a swarm known, or replace its capabilities (None leaves them).

        Raises LIMIT_REACHED.
        """
        ...

    async def introduce(
        self, swarm_id: str, capabilities: frozenset[str] | None, first: Write, *more: Write
    ) -> bool:
        """Make a swarm known with `first`, which is new, and `more`, in one transaction.

        False, with nothing written, if it is known already.

        Raises LIMIT_REACHED.
        """
        ...

    async def detect_blocker(self, swarm_id: str, info: BlockerReport) -> BlockerAlert:
        """Open a blocker or update the open one, and park the task that it names.

        Raises SWARM_NOT_FOUND and, with a task, STALE_ATTEMPT, NOT_OWNER, TASK_NOT_CLAIMED,
        TASK_ENDED.
        """
        ...

    async def resolve_blocker(self, swarm_id: str, task_id: str, resolution: str) -> BlockerAlert:
        """Close a blocker and give the parked task back. Raises BLOCKER_NOT_FOUND."""
        ...

    async def escalate_blocker(self, alert: BlockerAlert) -> None:
        """Bring an open blocker before the orchestrator again."""
        ...
