"""A whole coordinator in this process, over any store: for tests that need no network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from infrafabric_server.chassis.levels import Levels
from infrafabric_server.chassis.outcomes import OutcomeLog
from infrafabric_server.chassis.reputations import Reputations
from infrafabric_server.clock import Clock, SystemClock
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.build import Limits, Parts, build_coordinator
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.core import Governing
from infrafabric_server.coordinator.link import SessionLink
from infrafabric_server.coordinator.models import Dispatch, RetryPolicy, Task, TaskSpec
from infrafabric_server.coordinator.registration import Joining
from infrafabric_server.coordinator.sessions import Opening
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership, SoleLeader
from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.fleet.presence import Presence
from infrafabric_server.foundation import Foundation
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.build import Controls
from infrafabric_server.governor.gate import Gate, Judge
from infrafabric_server.governor.governor import Governor
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.roster import Roster
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Store
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.outbox import Outbox
from tests.contract.clock import SteppedClock


@dataclass(frozen=True, slots=True)
class Fabric:
    """A running coordinator and what a test may want to look at."""

    coordinator: Coordinator
    parts: Parts
    fleet: Fleet
    store: Store
    mirror: Mirror
    clock: Clock
    flood: Flood
    ledger: Ledger
    breakers: Breakers
    reputations: Reputations
    governor: Governor

    def task(self, task_id: str) -> Task:
        """Return a live task."""
        task = self.coordinator.tasks.get(task_id)
        assert task is not None, f"no task {task_id}"
        return task

    async def create(self, *new: tuple[TaskSpec, Dispatch]) -> tuple[Task, ...]:
        """Create tasks."""
        return await self.coordinator.creation.create(new)

    async def join(
        self,
        swarm_id: str,
        capabilities: set[str] | None = None,
        *,
        role: SessionRole = SessionRole.WORKER,
        slots: int = 1,
        cost: int = 0,
        token: str = "",
        credit: int | None = None,
    ) -> SessionLink:
        """Open a session of a swarm and return the server's end of it."""
        joining = Joining(swarm_id, frozenset(capabilities or {"any"}), cost, None, slots)
        opening = Opening(joining, role, token, None, credit)
        return await self.coordinator.sessions.open(opening)

    async def settled(self) -> None:
        """Return when nothing more follows from what has happened so far."""
        quiet = 0
        while quiet < 3:
            before = await self.store.revision()
            await self.mirror.caught_up(before)
            for _ in range(5):
                await asyncio.sleep(0)
            await self.store.get("nothing")
            busy = self.parts.background.busy or not self.parts.scheduler.idle
            quiet = 0 if busy or await self.store.revision() != before else quiet + 1


@asynccontextmanager
async def running_fabric(
    store: Store,
    *,
    clock: Clock | None = None,
    limits: Limits | None = None,
    outbox: Outbox | None = None,
    leadership: Leadership | None = None,
    mirror: Mirror | None = None,
    attendance: Attendance | None = None,
    replica: str = "test",
    policies: PolicyBook | None = None,
    gate: Gate | None = None,
    judge: Judge | None = None,
    presence: Presence | None = None,
) -> AsyncIterator[Fabric]:
    """Run a coordinator over `store` until the block ends; the store stays open.

    Without an `outbox` of its own, it has one that is never full and that nobody empties.
    Without a `leadership`, it leads. See `harness.replicas` for several over one store.
    """
    base = _foundation(store, mirror, clock, outbox, leadership, replica)
    controls = Controls.over(base, policies or PolicyBook())
    reputations = _reputations(base, controls.policies)
    roster = Roster()
    governing = Governing(
        controls,
        gate=gate or controls.breakers.gate,
        judge=judge,
        reputations=reputations,
        outcomes=OutcomeLog(reputations.outcomes, base.clock, Levels(controls.policies)),
        present=presence,
    )
    parts = build_coordinator(
        base, governing, roster, attendance or Attendance(replica), limits or Limits()
    )
    governor = Governor(base.fleet.swarms, roster, parts.screening, controls.policies, reputations)
    await base.mirror.start()
    async with _running(base, parts):
        yield Fabric(
            parts.coordinator,
            parts,
            base.fleet,
            base.store,
            base.mirror,
            base.clock,
            base.flood,
            controls.ledger,
            controls.breakers,
            reputations,
            governor,
        )
    governor.close()


def _foundation(
    store: Store,
    mirror: Mirror | None,
    clock: Clock | None,
    outbox: Outbox | None,
    leadership: Leadership | None,
    replica: str,
) -> Foundation:
    mirror, clock = mirror or Mirror(store), clock or SystemClock()
    outbox = outbox or Outbox(clock, replica, ())
    return Foundation(
        replica=replica,
        store=store,
        mirror=mirror,
        fleet=Fleet(mirror),
        clock=clock,
        leadership=leadership or SoleLeader(),
        outbox=outbox,
        flood=Flood(outbox, store, clock, component="coordinator"),
    )


@asynccontextmanager
async def _running(base: Foundation, parts: Parts) -> AsyncIterator[None]:
    runs = (base.mirror.run, parts.background.run, parts.dispatcher.run, parts.timers.run)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run()) for run in (*runs, base.flood.run)]
        await asyncio.sleep(0)
        parts.reactions.begin()
        yield
        for task in tasks:
            task.cancel()


def _reputations(base: Foundation, policies: PolicyBook) -> Reputations:
    clock = base.clock
    sleep = clock.sleep if isinstance(clock, SteppedClock) else asyncio.sleep
    return Reputations(base.mirror, base.fleet, clock, policies, sleep=sleep)


def new_task(
    task_id: str,
    *dependencies: str,
    needs: set[str] | None = None,
    dispatch: Dispatch = Dispatch.AUTO,
    priority: int = 0,
    filler: bool = False,
    retry: RetryPolicy | None = None,
    position: int = 0,
) -> tuple[TaskSpec, Dispatch]:
    """Return a task to be created."""
    spec = TaskSpec(
        task_id=task_id,
        required_capabilities=frozenset(needs or ()),
        dependencies=dependencies,
        priority=priority,
        filler=filler,
        retry=retry or RetryPolicy(),
        create_time=datetime.now(UTC),
        position=position,
    )
    return spec, dispatch
