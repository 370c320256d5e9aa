"""X1, C10: tasks of the board are run, whatever becomes of claim, server or module meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from infrafabric_server.chassis.box import Fetch
from infrafabric_server.chassis.models import LoadedSwarm
from infrafabric_server.chassis.sandbox.host import HostCalls
from infrafabric_server.chassis.sandbox.outcome import Outcome
from infrafabric_server.coordinator.models import LossKind, Task, TaskState
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.governor.policy.models import Containing, Policy
from infrafabric_server.governor.policy.verdicts import effective
from infrafabric_server.limits import MAX_PAYLOAD_BYTES
from tests.contract.clock import SteppedClock
from tests.unit.chassis.boxes import TTL, ActedBox, Boxed, outcome, running_chassis
from tests.unit.store.kit import FailingStore

CUT = "the claim was over"
BACK = "the server cannot go on with it"


class Guest:
    """What a module does, by the test: it begins, and goes on when it is told to."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.go_on = asyncio.Event()
        self.result = b"{}"
        self.error: Exception | None = None
        self.cut = 0

    async def __call__(self, loaded: LoadedSwarm, _given: bytes, _host: HostCalls) -> Outcome:
        self.begun.put_nowait(loaded.swarm_id)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cut += 1
            if self.error is not None:
                raise self.error from None
            raise
        return outcome(self.result)

    async def begins(self) -> str:
        """Return the swarm whose run has begun."""
        async with asyncio.timeout(20):
            return await self.begun.get()


class Beats:
    """Sleeps until the test says that it is over."""

    def __init__(self) -> None:
        self._asleep: list[asyncio.Future[None]] = []

    async def sleep(self, _seconds: float) -> None:
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asleep.append(sleeper)
        await sleeper

    def beat(self) -> None:
        """Wake all."""
        for sleeper in self._asleep:
            if not sleeper.done():
                sleeper.set_result(None)
        self._asleep.clear()


@pytest.fixture
def guest() -> Guest:
    return Guest()


@pytest.fixture
def beats() -> Beats:
    return Beats()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def store(clock: SteppedClock) -> AsyncIterator[FailingStore]:
    opened = await FailingStore.open(clock=clock, sleep=clock.sleep)
    yield opened
    await opened.close()


@pytest.fixture
async def boxed(
    guest: Guest, beats: Beats, clock: SteppedClock, store: FailingStore
) -> AsyncIterator[Boxed]:
    async with running_chassis(
        lambda _policies: ActedBox(guest), store=store, clock=clock, sleep=beats.sleep
    ) as running:
        await running.load("s", b"module of s")
        yield running


async def cuts(boxed: Boxed, task_id: str = "t") -> list[str]:
    """Return why runs of a task were cut off."""
    await boxed.fabric.settled()
    return [each["reason"] for each in await boxed.entries("execution_cut", task_id)]


def waits(task: Task) -> bool:
    return task.state is TaskState.AVAILABLE


async def test_x1_a_claim_that_is_lost_ends_the_run_and_the_next_attempt_is_another(
    boxed: Boxed, guest: Guest
) -> None:
    await boxed.ask("s", "t")
    await guest.begins()
    await boxed.fabric.coordinator.claims.lose("s", "t", 1, LossKind.NO_PROGRESS)
    await guest.begins()
    assert guest.cut == 1
    guest.go_on.set()
    done = await boxed.ends("t")
    assert (done.state, done.attempt) == (TaskState.COMPLETED, 2)
    assert await cuts(boxed) == [CUT]
    assert len(await boxed.entries("task_executed", "t")) == 1


async def test_x1_a_task_that_is_cancelled_ends_the_run(boxed: Boxed, guest: Guest) -> None:
    await boxed.ask("s", "t")
    await guest.begins()
    await boxed.fabric.coordinator.endings.cancel("t", "not needed")
    assert await cuts(boxed) == [CUT]
    assert guest.cut == 1
    assert boxed.fabric.task("t").state is TaskState.CANCELLED


async def test_x1_a_deadline_ends_the_run(boxed: Boxed, guest: Guest, clock: SteppedClock) -> None:
    await boxed.ask("s", "t", deadline=clock.now() + timedelta(seconds=60))
    await guest.begins()
    await clock.advance(61)
    boxed.fabric.parts.timers.fire()
    ended = await boxed.ends("t")
    assert ended.state is TaskState.FAILED
    assert await cuts(boxed) == [CUT]
    assert guest.cut == 1


async def test_x1_c10_a_claim_is_extended_while_it_is_worked_on(
    boxed: Boxed, guest: Guest, beats: Beats, clock: SteppedClock, store: FailingStore
) -> None:
    await boxed.ask("s", "t")
    await guest.begins()
    for lost in (0, 1, 0):
        # An extension that gets lost is made up for by the next one.
        store.lost_before = lost
        before = boxed.fabric.task("t").claim
        assert before is not None
        assert before.expire_time is not None
        await clock.advance(TTL.total_seconds() / 3)
        beats.beat()
        await boxed.fabric.settled()
        after = boxed.fabric.task("t").claim
        assert after is not None
        extended = before.expire_time if lost else clock.now() + TTL
        assert after.expire_time == extended
    guest.go_on.set()
    assert (await boxed.ends("t")).attempt == 1


async def test_x1_c10_a_server_that_drains_gives_back_what_runs_and_what_waits(
    boxed: Boxed, guest: Guest
) -> None:
    boxed.policies.install(effective(Policy(chassis=Containing(max_running=1)), "cafe"))
    await boxed.load("other", b"module of other")
    await boxed.ask("s", "t")
    await guest.begins()
    await boxed.ask("other", "u")
    await boxed.fabric.settled()
    await boxed.runner.drain()
    # The one was claimed and is given back, the other never was.
    assert await cuts(boxed) == [BACK]
    assert [boxed.fabric.task(id_).attempt for id_ in "tu"] == [1, 0]
    assert all(waits(boxed.fabric.task(id_)) for id_ in "tu")
    assert boxed.fabric.task("t").failures == 0
    await boxed.ask("s", "v")
    await boxed.fabric.settled()
    assert waits(boxed.fabric.task("v"))
    assert guest.begun.empty()


async def test_x1_x7_an_error_while_a_run_is_ended_does_not_make_a_failure_of_it(
    boxed: Boxed, guest: Guest
) -> None:
    guest.error = OSError("nothing of it can be removed")
    await boxed.ask("s", "t")
    await guest.begins()
    await boxed.runner.drain()
    assert await cuts(boxed) == [BACK]
    task = boxed.fabric.task("t")
    assert waits(task)
    assert task.failures == 0
    call = asyncio.create_task(boxed.chassis.execute_task("s", "r", "{}"))
    await guest.begins()
    call.cancel()
    await asyncio.wait((call,))
    assert call.cancelled()
    assert await cuts(boxed, "r") == ["the call was cancelled, or its deadline passed"]


async def test_x1_a_result_that_is_too_large_fails_the_task(boxed: Boxed, guest: Guest) -> None:
    guest.go_on.set()
    guest.result = b'{"text": "%s"}' % (b"x" * MAX_PAYLOAD_BYTES)
    await boxed.ask("s", "t")
    failed = await boxed.ends("t")
    assert (failed.state, failed.failures) == (TaskState.FAILED, 3)
    why = f"the output takes more than {MAX_PAYLOAD_BYTES} bytes as a message"
    recorded = await boxed.entries("task_executed", "t")
    assert [each["reason"] for each in recorded] == [why] * 3
    guest.result = b"{}"
    await boxed.ask("s", "next")
    assert (await boxed.ends("next")).state is TaskState.COMPLETED


class Unloading(ActedBox):
    """A sandbox whose next run finds that its module was unloaded and removed since the claim."""

    boxed: Boxed | None = None

    async def run(
        self, loaded: LoadedSwarm, fetch: Fetch, given: bytes, host: HostCalls
    ) -> Outcome:
        boxed, self.boxed = self.boxed, None
        if boxed is not None:
            await boxed.contracts.unload(loaded.swarm_id)
            entry = boxed.modules.stored(loaded.module_sha256)
            assert entry is not None
            await boxed.modules.remove(entry)
        return await super().run(loaded, fetch, given, host)


async def test_x1_a_module_that_is_gone_since_the_claim_leaves_the_task_to_the_next_one(
    store: FailingStore, clock: SteppedClock
) -> None:
    box = Unloading()
    async with running_chassis(lambda _policies: box, store=store, clock=clock) as boxed:
        await boxed.load("s", b"module")
        box.boxed = boxed
        await boxed.ask("s", "t")
        back = await boxed.reaches("t", lambda task: task.attempt == 1 and waits(task))
        assert back.failures == 0
        assert await cuts(boxed) == [BACK]
        await boxed.load("s", b"another")
        done = await boxed.ends("t")
        assert (done.state, done.attempt) == (TaskState.COMPLETED, 2)


async def test_x1_a_swarm_that_is_unloaded_while_it_waits_claims_nothing(
    boxed: Boxed, guest: Guest
) -> None:
    boxed.policies.install(effective(Policy(chassis=Containing(max_running=1)), "cafe"))
    await boxed.load("other", b"module of other")
    await boxed.ask("s", "t")
    assert await guest.begins() == "s"
    await boxed.ask("other", "u")
    await boxed.fabric.settled()
    await boxed.contracts.unload("other")
    # What runs already ends under the contract that it began with.
    await boxed.contracts.unload("s")
    guest.go_on.set()
    assert (await boxed.ends("t")).state is TaskState.COMPLETED
    await boxed.fabric.settled()
    assert boxed.fabric.task("u").attempt == 0
    await boxed.load("other", b"module of other")
    assert (await boxed.ends("u")).attempt == 1


async def test_x1_a_breaker_that_is_open_leaves_tasks_on_the_board(
    boxed: Boxed, guest: Guest, clock: SteppedClock
) -> None:
    guest.go_on.set()
    await boxed.fabric.breakers.trip("s", BreakerCause.MANUAL, "smoke")
    await boxed.ask("s", "t")
    await boxed.fabric.settled()
    assert boxed.fabric.task("t").attempt == 0
    await boxed.fabric.breakers.reset("s", "ann@example.org", "it was a drill")
    # It was refused for what no view tells the end of, and is tried again a second later.
    await clock.advance(2)
    done = await boxed.ends("t")
    assert (done.state, done.attempt) == (TaskState.COMPLETED, 1)
