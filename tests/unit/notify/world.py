"""A fabric in memory with real statuses on a real coordinator, for tests.

For example::

    async with World() as world:
        await world.report("s", Status.IDLE)
        await world.becomes("s", Status.IDLE)

Two worlds after each other on the same `MemoryData` are one fabric before and after a crash.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.models import (
    BlockerReport,
    ClaimOutcome,
    Dispatch,
    Task,
    TaskSpec,
)
from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.fleet.models import AgentStatus, SessionRole, Status
from infrafabric_server.notify.models import Notified, StatusReport
from infrafabric_server.notify.notify import Notify
from infrafabric_server.notify.watch import StatusWatch
from infrafabric_server.store.feed import Feed
from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.store.protocol import Store
from infrafabric_server.store.view import AnyView
from infrafabric_server.witness.outbox import Outbox
from tests.harness.fabric import running_fabric

# Far more than anything here takes: a test that waits so long has failed.
PATIENCE = 10.0


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self._now = datetime(2025, 11, 12, 10, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, by: timedelta) -> None:
        self._now += by
        self._monotonic += by.total_seconds()


class World:
    """The parts of a server that statuses have to do with, running."""

    def __init__(
        self,
        data: MemoryData | None = None,
        *,
        clock: Clock | None = None,
        wrap: Callable[[Store], Store] = lambda store: store,
        notifying: bool = True,
        **settings: Any,
    ) -> None:
        self.data = data or MemoryData()
        self.clock = clock or ManualClock()
        self._wrap = wrap
        self._notifying = notifying
        self._settings = settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        memory = await MemoryStore.open(self.data, clock=self.clock)
        self.store = self._wrap(memory)
        self._stack.push_async_callback(self.store.close)
        running = running_fabric(self.store, clock=self.clock)
        self.fabric = await self._stack.enter_async_context(running)
        self.mirror = self.fabric.mirror
        self.fleet = self.fabric.fleet
        self.coordinator = self.fabric.coordinator
        records = self.coordinator.records
        self.notify = Notify(
            self.mirror,
            self.fleet,
            self.coordinator,
            Outbox(self.clock, "notify", ()),
            self.clock,
            SoleLeader(),
            self.fabric.ledger,
            replica="test",
            broadcasts=records.broadcasts,
            requests=records.requests,
            **self._settings,
        )
        views: list[AnyView] = [self.fleet.statuses, self.fleet.swarms, records.broadcasts]
        self.watch = StatusWatch(Feed(self.store, self.mirror, views), self.fleet, self.notify.see)
        if self._notifying:
            self.notify.start()
            group = await self._stack.enter_async_context(asyncio.TaskGroup())
            self._stack.callback(group.create_task(self.notify.run()).cancel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def status(self, swarm_id: str) -> AgentStatus | None:
        """Return the status as it is now."""
        return self.fleet.statuses.get(swarm_id)

    async def report(self, swarm_id: str, status: Status, **fields: Any) -> Notified:
        """Report a status."""
        return await self.notify.notify(StatusReport(swarm_id=swarm_id, status=status, **fields))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when `holds`, looked at after each change of a status or blocker."""
        changed = asyncio.Event()
        views = (self.fleet.statuses, self.coordinator.blockers, self.coordinator.tasks)
        stops = [view.subscribe(lambda _change: changed.set()) for view in views]
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    changed.clear()
                    await changed.wait()
        finally:
            for stop in stops:
                stop()

    async def becomes(self, swarm_id: str, status: Status, **fields: Any) -> AgentStatus:
        """Return the status once it is `status` and has `fields`."""

        def holds() -> bool:
            found = self.status(swarm_id)
            return (
                found is not None
                and found.status is status
                and all(getattr(found, name) == value for name, value in fields.items())
            )

        await self.until(holds)
        found = self.status(swarm_id)
        assert found is not None
        return found

    async def task(self, task_id: str, **fields: Any) -> Task:
        """Create a task that waits to be claimed."""
        spec = TaskSpec(task_id=task_id, create_time=self.clock.now(), **fields)
        (task,) = await self.coordinator.creation.create([(spec, Dispatch.MANUAL)])
        return task

    async def claim(self, swarm_id: str, task_id: str) -> ClaimOutcome:
        """Claim a task, in the swarm's session if it has one."""
        session = self.fleet.sessions.entry(swarm_id)
        epoch = None if session is None else session.mod_revision
        outcome = await self.coordinator.claims.claim(swarm_id, task_id, epoch)
        assert outcome.claimed, outcome
        return outcome

    async def work(self, swarm_id: str, task_id: str) -> None:
        """Create a task and claim it."""
        await self.task(task_id)
        await self.claim(swarm_id, task_id)

    def attempt(self, task_id: str) -> int:
        """Return the attempt of a task."""
        task = self.coordinator.tasks.get(task_id)
        assert task is not None
        return task.attempt

    async def complete(self, swarm_id: str, task_id: str, cost_micros: int = 0) -> None:
        """Complete a task."""
        await self.coordinator.claims.complete(
            swarm_id, task_id, self.attempt(task_id), result_json="{}", cost_micros=cost_micros
        )

    async def release(self, swarm_id: str, task_id: str) -> None:
        """Give a task back."""
        await self.coordinator.claims.release(swarm_id, task_id, self.attempt(task_id), "")

    async def block(self, swarm_id: str, task_id: str = "", why: str = "no network") -> None:
        """Report a blocker to the coordinator."""
        attempt = self.attempt(task_id) if task_id else 0
        report = BlockerReport(task_id=task_id, attempt=attempt, description=why)
        await self.coordinator.detect_blocker(swarm_id, report)

    async def connect(self, swarm_id: str, role: SessionRole = SessionRole.WORKER) -> None:
        """Open a session of a swarm."""
        await self.fabric.join(swarm_id, role=role)

    async def disconnect(self, swarm_id: str) -> None:
        """Lose the session of a swarm, as when it is silent for too long."""
        record = await self.store.get(self.fleet.sessions.key(swarm_id))
        if record is not None:
            await self.store.revoke(record.lease)
