"""Blockers that last are brought before the orchestrator again."""

import asyncio
from datetime import datetime, timedelta

import structlog

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.models import BlockerAlert
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.errors import FabricError
from infrafabric_server.governor.escalation.models import Cause, Kind
from infrafabric_server.notify.ports import Coordinator
from infrafabric_server.store.mirror import Change
from infrafabric_server.store.protocol import StoreError

# Wait before an escalation that was not written is tried again, in seconds.
RETRY_SECONDS = 1.0
# What the ids of escalations to people begin with; the id of the blocker follows.
PREFIX = f"{Kind.BLOCKER}:"

_log = structlog.get_logger(__name__)


def cause(alert: BlockerAlert) -> Cause | None:
    """Return what a blocker wants a person for; None when it is over or has not lasted."""
    if not alert.open or not alert.escalations:
        return None
    about = f" on task {alert.task_id}" if alert.task_id else ""
    return Cause(
        kind=Kind.BLOCKER,
        subject=alert.blocker_id,
        since=alert.create_time,
        summary=f"swarm {alert.swarm_id} reported a blocker{about}: {alert.description}",
        swarm_id=alert.swarm_id,
        task_id=alert.task_id,
    )


class Escalation:
    """Escalates each open blocker whenever it has lasted another `after`.

    The n-th time is `after * n` from the first report; what fell due while no server ran
    is made up for once. Nothing is kept beside the blockers themselves.
    """

    def __init__(self, coordinator: Coordinator, clock: Clock, after: timedelta) -> None:
        self._coordinator = coordinator
        self._clock = clock
        self._after = after
        self._timers = Timers(clock)
        self._raised: dict[str, datetime] = {}
        self._due: asyncio.Queue[str] = asyncio.Queue()

    def start(self) -> None:
        """Take in the open blockers, and follow them from now on."""
        for blocker_id, alert in self._coordinator.blockers.items():
            if alert.open:
                self._arm(blocker_id, alert)
        self._coordinator.blockers.subscribe(self._changed)

    async def run(self) -> None:
        """Escalate what falls due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._timers.run())
            while True:
                await self._escalate(await self._due.get())

    def check(self) -> None:
        """Look for what is due now; `run` does so by itself when the time has come."""
        self._timers.fire()

    def _changed(self, change: Change[BlockerAlert]) -> None:
        if change.new is not None and change.new.open:
            self._arm(change.id, change.new)
        else:
            self._timers.clear(change.id)
            self._raised.pop(change.id, None)

    def _arm(self, blocker_id: str, alert: BlockerAlert) -> None:
        due = alert.create_time + self._after * (alert.escalations + 1)
        if blocker_id in self._raised:
            due = max(due, self._raised[blocker_id] + self._after)
        self._set(blocker_id, (due - self._clock.now()).total_seconds())

    def _set(self, blocker_id: str, seconds: float) -> None:
        self._timers.set(blocker_id, seconds, lambda: self._due.put_nowait(blocker_id))

    async def _escalate(self, blocker_id: str) -> None:
        alert = self._coordinator.blockers.get(blocker_id)
        if alert is None or not alert.open:
            return
        before = self._raised.get(blocker_id)
        self._raised[blocker_id] = self._clock.now()
        try:
            await self._coordinator.escalate_blocker(alert)
        except (FabricError, StoreError) as error:
            _log.warning("blocker_not_escalated", blocker_id=blocker_id, error=str(error))
        after = self._coordinator.blockers.get(blocker_id)
        if after is not None and after.open and after.escalations == alert.escalations:
            if before is None:
                self._raised.pop(blocker_id, None)
            else:
                self._raised[blocker_id] = before
            self._set(blocker_id, RETRY_SECONDS)
