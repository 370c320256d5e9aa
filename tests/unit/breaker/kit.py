"""A fabric with settings of its own for breakers, and what the tests of them do to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.link import SessionLink
from infrafabric_server.coordinator.models import (
    FailureKind,
    RetryPolicy,
)
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Breaking, Policy
from infrafabric_server.store.memory import MemoryStore
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, running_fabric

OFTEN = RetryPolicy(max_attempts=100, initial_backoff=timedelta(0))


@asynccontextmanager
async def fabric_with(
    breaking: Breaking, clock: SteppedClock, store: MemoryStore | None = None
) -> AsyncIterator[Fabric]:
    policies = PolicyBook(Policy(breaker=breaking))
    own = store or await MemoryStore.open(clock=clock)
    limits = Limits(lease=3600.0, ack=3600.0)
    async with running_fabric(own, clock=clock, policies=policies, limits=limits) as fabric:
        yield fabric
    if store is None:
        await own.close()


async def fails(
    fabric: Fabric,
    task_id: str,
    swarm_id: str = "s",
    kind: FailureKind = FailureKind.RETRYABLE,
) -> None:
    """Have a swarm claim a task and fail."""
    outcome = await fabric.coordinator.claims.claim(swarm_id, task_id)
    assert outcome.task is not None, outcome
    await fabric.coordinator.claims.fail(
        swarm_id,
        task_id,
        outcome.task.attempt,
        reason="broken",
        kind=kind,
        retry_time=None,
    )
    await fabric.settled()


async def frames(link: SessionLink, kind: type) -> list[object]:
    """Return the frames of a kind that wait to be sent, and leave them there."""
    waiting, _ = await link.take(link.waiting)
    link.give_back(waiting)
    return [each for each in waiting if isinstance(each, kind)]


async def recorded(fabric: Fabric, operation: str) -> int:
    """Return how many entries of an operation wait for the witness log."""
    page = await fabric.store.range("outbox/", limit=1000)
    return sum(f'"{operation}"' in kv.value for kv in page.kvs)
