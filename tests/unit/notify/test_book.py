"""The one writer of statuses: crashes, rivals and outages."""

import asyncio
import contextlib
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import AgentStatus, Status
from infrafabric_server.store.memory import MemoryData
from infrafabric_server.store.protocol import StoreUnavailable
from tests.unit.notify.stores import Failing, Rivalled
from tests.unit.notify.world import ManualClock, World


async def test_a_rival_that_writes_first_costs_a_round_and_loses_nothing() -> None:
    async with World(wrap=Rivalled) as world:
        assert isinstance(world.store, Rivalled)
        await world.report("s", Status.IDLE)
        world.store.rounds = 5
        await world.report("s", Status.BUSY, cost_spent_micros=7)
        status = world.status("s")
        assert status is not None
        assert (status.status, status.cost_spent_micros) == (Status.BUSY, 7)


async def test_a_rival_without_end_is_given_up_on() -> None:
    async with World(wrap=Rivalled) as world:
        assert isinstance(world.store, Rivalled)
        await world.report("s", Status.IDLE)
        world.store.rounds = 10**6
        with pytest.raises(FabricError) as caught:
            await world.report("s", Status.BUSY)
        assert caught.value.reason is Reason.CONTENTION


@pytest.mark.parametrize("applied", [False, True])
async def test_what_happened_is_counted_once_when_the_store_does_not_answer(
    applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrafabric_server.notify.book.RETRY_SECONDS", 0.01)
    async with World(wrap=Failing) as world:
        assert isinstance(world.store, Failing)
        await world.connect("s")
        await world.work("s", "t1")
        await world.becomes("s", Status.BUSY)
        world.store.failures, world.store.applied = 3, applied
        await world.complete("s", "t1", cost_micros=40)
        done = await world.becomes("s", Status.IDLE, tasks_completed=1)
        assert done.cost_spent_micros == 40


async def test_a_report_is_told_when_the_store_does_not_answer() -> None:
    async with World(wrap=Failing) as world:
        assert isinstance(world.store, Failing)
        await world.report("s", Status.IDLE)
        world.store.failures = 1
        with pytest.raises(StoreUnavailable):
            await world.report("s", Status.BUSY)


async def _after_a_crash(data: MemoryData) -> World:
    world = World(data)
    await world.__aenter__()
    return world


async def test_a_crash_between_a_change_and_its_effect_loses_nothing() -> None:
    data = MemoryData()
    async with World(data) as world:
        for swarm_id in ("claims", "completes", "releases", "blocks", "leaves", "goes"):
            await world.report(swarm_id, Status.IDLE)
        for swarm_id in ("completes", "releases"):
            await world.work(swarm_id, f"{swarm_id}-task")
            await world.becomes(swarm_id, Status.BUSY)
        await world.connect("leaves")
        await world.becomes("leaves", Status.IDLE, connected=True)
    # Everything below happens while no one sets statuses.
    clock = ManualClock()
    clock.advance(timedelta(minutes=1))
    async with World(data, clock=clock, notifying=False) as world:
        await world.work("claims", "claims-task")
        await world.complete("completes", "completes-task", cost_micros=40)
        await world.release("releases", "releases-task")
        await world.block("blocks", why="no network")
        await world.disconnect("leaves")
        await world.coordinator.registration.deregister("goes")
        await world.coordinator.register_swarm("comes")
    for _ in range(2):
        async with World(data, clock=clock) as world:
            await world.becomes("claims", Status.BUSY, last_task="claims-task")
            done = await world.becomes("completes", Status.IDLE, tasks_completed=1)
            assert done.cost_spent_micros == 40
            await world.becomes("releases", Status.IDLE)
            await world.becomes("blocks", Status.BLOCKED, message="no network")
            await world.becomes("leaves", Status.IDLE, connected=False, waiting_since=None)
            await world.becomes("comes", Status.IDLE)
            await world.notify.settled()
            assert world.status("goes") is None


async def test_a_crash_in_the_middle_of_completed_is_followed_by_idle() -> None:
    data = MemoryData()
    async with World(data) as world:
        await world.report("s", Status.IDLE)
    async with World(data, notifying=False) as world:
        completed = AgentStatus(
            swarm_id="s", status=Status.COMPLETED, status_time=world.clock.now(), declared=True
        )
        await world.mirror.commit([], [world.fleet.statuses.put("s", completed)])
    async with World(data) as world:
        await world.becomes("s", Status.IDLE)


async def test_a_restart_changes_no_status_that_is_in_order() -> None:
    data = MemoryData()
    async with World(data) as world:
        await world.connect("works")
        await world.work("works", "t1")
        await world.becomes("works", Status.BUSY)
        await world.report("helps", Status.HELP, message="why")
        await world.report("stuck", Status.BLOCKED, message="why")
        before = dict(world.fleet.statuses.items())
    async with World(data) as world:
        await world.report("new", Status.IDLE)
        after = dict(world.fleet.statuses.items())
        after.pop("new")
        assert after == before


STEPS = st.lists(
    st.sampled_from(
        [
            *("claim", "complete", "release", "connect", "disconnect", "block", "resolve"),
            *(f"report {status}" for status in Status),
            # A crash, and one after which nobody sets statuses until the next.
            *("crash", "blind"),
        ]
    ),
    max_size=25,
)


class _Story:
    """One swarm's life, step by step, with what must be true of its status afterwards."""

    def __init__(self) -> None:
        self.data = MemoryData()
        self.clock = ManualClock()
        self.completed = 0
        self.made = 0

    async def tell(self, steps: list[str]) -> None:
        chapters: list[tuple[bool, list[str]]] = [(True, [])]
        for step in steps:
            if step in ("crash", "blind"):
                chapters.append((step == "crash", []))
            else:
                chapters[-1][1].append(step)
        for notifying, chapter in chapters:
            async with World(self.data, clock=self.clock, notifying=notifying) as world:
                if notifying and world.status("s") is None:
                    await world.report("s", Status.IDLE)
                for step in chapter:
                    self.clock.advance(timedelta(seconds=1))
                    # What the fabric refuses has no effect: a claim may be lost meanwhile.
                    with contextlib.suppress(FabricError):
                        await self._do(world, step, notifying=notifying)
        async with World(self.data, clock=self.clock) as world:
            await world.notify.settled()
            self.check(world)

    async def _do(self, world: World, step: str, *, notifying: bool) -> None:
        word, _, argument = step.partition(" ")
        held = world.coordinator.held_by("s")
        stuck = [alert.task_id for alert in world.notify.open_blockers()]
        match word:
            case "claim" if not held or set(held) <= set(stuck):
                self.made += 1
                await world.work("s", f"t{self.made}")
            case "complete" if held:
                await world.complete("s", held[-1])
                self.completed += 1
            case "release" if held:
                await world.release("s", held[-1])
            case "block":
                await world.block("s", held[0] if held else "")
            case "resolve" if stuck:
                await world.coordinator.resolve_blocker("s", stuck[0], "done")
            case "connect":
                await world.connect("s")
            case "disconnect":
                await world.disconnect("s")
            case "report" if notifying:
                await world.report("s", Status(argument))

    def check(self, world: World) -> None:
        status = world.status("s")
        if status is None:
            return
        held = world.coordinator.held_by("s")
        stuck = [alert.task_id for alert in world.notify.open_blockers()]
        working = [task_id for task_id in held if task_id not in stuck]
        assert status.tasks_completed == self.completed
        assert status.connected == ("s" in world.fleet.sessions)
        assert status.status is not Status.COMPLETED
        if status.status is Status.BUSY and not status.declared:
            assert working
        if status.status is Status.BLOCKED:
            assert stuck
        if status.status is not Status.IDLE:
            assert status.waiting_since is None
        waits = status.waiting_since is not None
        assert ("s" in world.notify.idle_queue()) == waits


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_n1_whatever_happens_and_whenever_it_crashes_the_status_agrees(steps: list[str]) -> None:
    asyncio.run(_Story().tell(steps))
