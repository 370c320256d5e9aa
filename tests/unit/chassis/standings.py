"""A fabric with the keeper of its swarms' standings, and what the tests of them do to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from infrafabric_server.chassis.keeper import Keeper
from infrafabric_server.chassis.levels import Levels
from infrafabric_server.chassis.reports import Reports
from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.models import Dispatch, FailureKind, RetryPolicy, TaskClaim
from infrafabric_server.coordinator.registration import Joining
from infrafabric_server.fleet.leadership import Leadership, SoleLeader
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Policy
from infrafabric_server.store.memory import MemoryStore
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, new_task, running_fabric

AGAIN = RetryPolicy(max_attempts=100, initial_backoff=timedelta(0))
NEEDS = frozenset({"any"})


def keeper_of(
    fabric: Fabric,
    clock: SteppedClock,
    policies: PolicyBook,
    leadership: Leadership | None = None,
) -> Keeper:
    """Return the keeper of a replica, which a test has count."""
    return Keeper(
        fabric.mirror,
        fabric.fleet,
        fabric.reputations,
        fabric.breakers,
        leadership or SoleLeader(),
        clock,
        Levels(policies),
        sleep=clock.sleep,
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """A fabric, with its keeper and its reports."""

    fabric: Fabric
    keeper: Keeper
    reports: Reports
    clock: SteppedClock
    policies: PolicyBook

    async def register(self, *swarm_ids: str) -> None:
        """Register swarms that are alike."""
        for swarm_id in swarm_ids:
            joining = Joining(swarm_id, NEEDS, 0, None, 64)
            await self.fabric.coordinator.registration.register(joining)

    async def claimed(self, swarm_id: str, task_id: str) -> TaskClaim:
        """Have a swarm claim a task, which is created if there is none."""
        if self.fabric.coordinator.tasks.get(task_id) is None:
            await self.fabric.create(new_task(task_id, dispatch=Dispatch.MANUAL, retry=AGAIN))
        outcome = await self.fabric.coordinator.claims.claim(swarm_id, task_id)
        assert outcome.task is not None, outcome
        assert outcome.task.claim is not None
        return outcome.task.claim

    async def completes(self, swarm_id: str, *task_ids: str) -> None:
        """Have a swarm claim and complete tasks."""
        for task_id in task_ids:
            held = await self.claimed(swarm_id, task_id)
            await self.complete(held, task_id)

    async def complete(self, held: TaskClaim, task_id: str) -> None:
        """Have the holder of a claim complete its task."""
        await self.fabric.coordinator.claims.complete(
            held.swarm_id, task_id, held.attempt, result_json="{}", cost_micros=0
        )

    async def fails(
        self, swarm_id: str, *task_ids: str, kind: FailureKind = FailureKind.RETRYABLE
    ) -> None:
        """Have a swarm claim and fail tasks."""
        for task_id in task_ids:
            held = await self.claimed(swarm_id, task_id)
            await self.fabric.coordinator.claims.fail(
                swarm_id, task_id, held.attempt, reason="broken", kind=kind, retry_time=None
            )

    async def count(self) -> None:
        """Have everything counted that waits."""
        while await self.keeper.count():
            pass

    def seen(self, swarm_id: str) -> tuple[float, float]:
        """Return how many good attempts of how many count, by their weight now."""
        report = self.reports.reputation(swarm_id)
        return round(report.good, 6), round(report.seen, 6)


@asynccontextmanager
async def judged(
    policy: Policy | None = None,
    *,
    store: MemoryStore | None = None,
    clock: SteppedClock | None = None,
    leadership: Leadership | None = None,
) -> AsyncIterator[Judged]:
    """Run a fabric over a store in memory; time passes when the test says so."""
    clock = clock or SteppedClock()
    policies = PolicyBook(policy)
    own = store or await MemoryStore.open(clock=clock, sleep=clock.sleep)
    limits = Limits(lease=60.0, ack=3600.0)
    async with running_fabric(own, clock=clock, policies=policies, limits=limits) as fabric:
        keeper = keeper_of(fabric, clock, policies, leadership)
        reports = Reports(fabric.fleet, fabric.reputations, Levels(policies), clock)
        yield Judged(fabric, keeper, reports, clock, policies)
    if store is None:
        await own.close()
