"""What a whole coordinator does when the time of day jumps, and when its witness cannot write."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from infrafabric_server.clock import SystemClock
from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.models import Dispatch, FailureKind, Refusal, RetryPolicy, Task
from infrafabric_server.coordinator.registration import Joining
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import StoreFull
from infrafabric_server.witness.appender import LocalAppender
from infrafabric_server.witness.outbox import Outbox
from infrafabric_server.witness.sealer import Sealer
from infrafabric_server.witness.tail import Tail
from tests.harness.fabric import Fabric, new_task, running_fabric
from tests.unit.witness.faults import FaultyLog
from tests.unit.witness.support import everything

# It has no server: the store is in memory.
pytestmark = pytest.mark.embedded

LIMIT = 20
# Seconds of silence after which the session is lost, long after the outbox was filled.
LEASE = 1.5


class JumpingClock:
    """The machine's clocks, with a time of day that a test can move."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def monotonic(self) -> float:
        return SystemClock().monotonic()


async def seen(fabric: Fabric, task_id: str, wanted: Callable[[Task], bool]) -> Task:
    """Return a task when it is as wanted."""
    changed = asyncio.Event()
    cancel = fabric.coordinator.tasks.subscribe(lambda _change: changed.set())
    try:
        while not wanted(fabric.task(task_id)):
            changed.clear()
            await changed.wait()
        return fabric.task(task_id)
    finally:
        cancel()


async def register(fabric: Fabric) -> None:
    """Make the swarm known that claims by calls."""
    joining = Joining("caller", frozenset({"y"}), max_concurrent_tasks=64)
    await fabric.coordinator.registration.register(joining)


async def claim(fabric: Fabric, task_id: str) -> Task:
    """Claim a task by a call of `caller` and return it."""
    outcome = await fabric.coordinator.claim_task("caller", task_id)
    assert outcome.task is not None, outcome
    assert outcome.claimed, outcome
    return outcome.task


@pytest.mark.parametrize("days", [1, -1])
async def test_c10_jump_of_the_time_of_day_ends_no_claim_and_no_wait(days: int) -> None:
    clock = JumpingClock()
    store = await MemoryStore.open(clock=clock)
    async with running_fabric(store, clock=clock, limits=Limits(lease=60.0)) as fabric:
        claims = fabric.coordinator.claims
        link = await fabric.join("worker", {"x"})
        await register(fabric)
        retry = RetryPolicy(initial_backoff=timedelta(seconds=0.3))
        await fabric.create(
            new_task("in-session", needs={"x"}),
            new_task("by-call", dispatch=Dispatch.MANUAL),
            new_task("retried", dispatch=Dispatch.MANUAL, retry=retry),
        )
        await fabric.settled()
        await claim(fabric, "by-call")
        await claim(fabric, "retried")
        failed = await claims.fail(
            "caller",
            "retried",
            1,
            reason="once more",
            kind=FailureKind.RETRYABLE,
            retry_time=None,
        )
        assert failed.available_time is not None

        clock.offset = timedelta(days=days)
        if days < 0:
            early = await fabric.coordinator.claim_task("caller", "retried")
            assert early.refusal is Refusal.NOT_AVAILABLE
        await seen(fabric, "retried", lambda task: task.available_time is None)
        assert (await claim(fabric, "retried")).attempt == 2
        await fabric.coordinator.sessions.keep_alive(link)
        await fabric.settled()
        assert link.live
        for task_id, holder in {"in-session": "worker", "by-call": "caller"}.items():
            task = fabric.task(task_id)
            assert task.claim is not None
            assert (task.claim.swarm_id, task.attempt) == (holder, 1)
            epoch = link.epoch if holder == "worker" else None
            await claims.complete(holder, task_id, 1, result_json="{}", cost_micros=0, epoch=epoch)
    await store.close()


async def soon(_seconds: float) -> None:
    """Pass a pause before a repeat."""
    await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A fabric whose decisions are sealed, as long as the log's disk has room."""

    fabric: Fabric
    log: FaultyLog
    sealer: Sealer


@asynccontextmanager
async def witnessed() -> AsyncIterator[Witnessed]:
    store = await MemoryStore.open()
    log = FaultyLog()
    appender = LocalAppender(log, await Tail.open(log))
    mirror = Mirror(store)
    sealer = Sealer(store, mirror, appender, SoleLeader(), sleep=soon)
    outbox = Outbox(SystemClock(), "test", sealer, limit=LIMIT)
    limits = Limits(lease=LEASE)
    async with (
        asyncio.TaskGroup() as group,
        running_fabric(store, mirror=mirror, outbox=outbox, limits=limits) as fabric,
    ):
        sealing = group.create_task(sealer.run())
        yield Witnessed(fabric, log, sealer)
        sealing.cancel()
    await store.close()


async def claim_until_full(it: Witnessed, names: list[str]) -> list[str]:
    """Claim task after task until no more decisions are taken; return what was claimed."""
    for number, name in enumerate(names):
        try:
            await claim(it.fabric, name)
        except FabricError:
            return names[:number]
        # The sealer has counted this one before the next is decided.
        await it.fabric.mirror.caught_up(await it.fabric.store.revision())
    raise AssertionError("the outbox was never full")


async def lost(fabric: Fabric, swarm_id: str) -> None:
    """Return when the session of a swarm is over."""
    over = asyncio.Event()
    cancel = fabric.fleet.sessions.subscribe(lambda _change: over.set())
    while fabric.fleet.sessions.get(swarm_id) is not None:
        over.clear()
        await over.wait()
    cancel()


async def test_c2_full_outbox_refuses_every_decision_until_the_log_can_be_written() -> None:
    async with witnessed() as it:
        fabric = it.fabric
        link = await fabric.join("silent", {"x"})
        await register(fabric)
        names = [f"t{number:02}" for number in range(2 * LIMIT)]
        await fabric.create(new_task("held", needs={"x"}))
        await fabric.create(*(new_task(name, dispatch=Dispatch.MANUAL) for name in names))
        await it.sealer.flush()
        await fabric.store.keepalive(link.lease)

        it.log.faults.always = StoreFull("no room")
        claimed = await claim_until_full(it, names)
        # The session that falls silent now is lost, and its task cannot be given back yet.
        await lost(fabric, "silent")
        with pytest.raises(FabricError) as full:
            await claim(fabric, names[-1])
        assert full.value.reason is Reason.OUTBOX_FULL
        assert full.value.retry_after == 1.0
        assert fabric.task(names[-1]).claim is None
        assert fabric.task("held").claim is not None

        it.log.faults.always = None
        await it.sealer.flush()
        await seen(fabric, "held", lambda task: task.claim is None)
        await claim(fabric, names[-1])
        await it.sealer.flush()
        sealed = [entry for entry in await everything(it.log) if entry.operation == "claim_won"]
    assert [entry.task_id for entry in sealed] == [*claimed, names[-1]]
