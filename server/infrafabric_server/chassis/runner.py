"""Claims the tasks that name a loaded swarm, and runs them: the fabric works as that swarm."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from infrafabric_server.chassis.backlog import ChassisBacklog
from infrafabric_server.chassis.contracts import Contracts
from infrafabric_server.chassis.egress.egress import Egress
from infrafabric_server.chassis.hosts import GuestHost
from infrafabric_server.chassis.models import Execution, LoadedSwarm
from infrafabric_server.chassis.recorder import Recorder, Run
from infrafabric_server.chassis.runs import Runs
from infrafabric_server.chassis.scratch.scratch import Scratch
from infrafabric_server.chassis.setbacks import Setbacks
from infrafabric_server.chassis.turns import Turns
from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.background import Background, Work
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.models import FailureKind, LossKind, Refusal, Task
from infrafabric_server.coordinator.rules import holds
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.mirror import Change, View
from infrafabric_server.store.protocol import StoreClosed, StoreError

# A claim is extended after a third of its time to live.
_EXTENSIONS = 3

# Wait before a refused claim is tried again when no view will tell that the reason is gone.
_RETRY_SECONDS = 1.0

# The task is another replica's, or is over: if it waits again, its view tells.
_PASSED = (
    Refusal.TASK_NOT_FOUND,
    Refusal.ALREADY_CLAIMED,
    Refusal.NOT_AVAILABLE,
    Refusal.LOST_RACE,
)

# The refusal is about this task: another one of the same swarm may be claimed.
_OF_THE_TASK = (Refusal.BUDGET, Refusal.POLICY)

# There is no claim to extend.
_OVER = (
    Reason.STALE_ATTEMPT,
    Reason.NOT_OWNER,
    Reason.TASK_NOT_CLAIMED,
    Reason.TASK_ENDED,
    Reason.TASK_NOT_FOUND,
)

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Job:
    """A task that a swarm is to run; while it is `waiting` for its turn, it has no claim yet."""

    work: asyncio.Task[None]
    waiting: bool = True


@dataclass(slots=True)
class _Running:
    """A claim that is worked on; `given_up` is set when nobody wants its result any more."""

    swarm_id: str
    attempt: int
    work: asyncio.Task[Execution | None]
    given_up: bool = False


class Runner:
    """Works on tasks of the chassis, at most one for each swarm at a time.

    Every replica does. A task is claimed by who wins it, for a short time to live that is extended
    while it runs: whatever happens to a replica, its tasks wait again soon.
    """

    def __init__(
        self,
        tasks: View[Task],
        contracts: Contracts,
        claims: Claims,
        runs: Runs,
        turns: Turns,
        recorder: Recorder,
        egress: Egress,
        scratch: Scratch,
        background: Background,
        clock: Clock,
        ttl: timedelta,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Connect, before the mirror starts.

        A claim lives for `ttl` after its server is gone; `sleep` waits for seconds of `clock`.
        """
        self._contracts = contracts
        self._claims = claims
        self._runs = runs
        self._turns = turns
        self._recorder = recorder
        self._egress = egress
        self._scratch = scratch
        self._background = background
        self._ttl = ttl
        self._clock = clock
        self._sleep = sleep
        self._backlog = ChassisBacklog()
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._jobs: dict[str, _Job] = {}
        self._running: dict[str, _Running] = {}
        self._put_off: dict[str, float] = {}
        self._setbacks = Setbacks()
        self._draining = False
        tasks.subscribe(self._changed)
        contracts.view.subscribe(lambda change: self._loaded(change.id))

    async def run(self) -> None:
        """Claim and run what waits, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._woken.clear()
                self._look(group)
                # Some reasons for a refusal end without any view telling.
                wait = _RETRY_SECONDS if self._backlog.swarms() else None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._woken.wait()

    async def drain(self) -> None:
        """Begin nothing any more, and give back at once what runs."""
        self._draining = True
        for job in self._jobs.values():
            if job.waiting:
                job.work.cancel()
        for each in self._running.values():
            each.work.cancel()
        await self._idle.wait()

    def _changed(self, change: Change[Task]) -> None:
        if self._backlog.changed(change.old, change.new, self._clock.now()):
            self._woken.set()
        running = self._running.get(change.id)
        if running is None:
            return
        if change.new is None or not holds(change.new, running.swarm_id, running.attempt):
            running.given_up = True
            running.work.cancel()

    def _loaded(self, swarm_id: str) -> None:
        self._setbacks.forget(swarm_id)
        self._put_off.pop(swarm_id, None)
        self._woken.set()

    def _look(self, group: asyncio.TaskGroup) -> None:
        now = self._clock.monotonic()
        self._put_off = {each: until for each, until in self._put_off.items() if until > now}
        if self._draining:
            return
        for swarm_id in self._backlog.swarms():
            busy = swarm_id in self._jobs or swarm_id in self._put_off
            if swarm_id in self._contracts.view and not busy and self._next(swarm_id):
                self._idle.clear()
                work = group.create_task(self._work(swarm_id))
                self._jobs[swarm_id] = _Job(work)
                # Not in the work itself: it may be called off before it has begun.
                work.add_done_callback(partial(self._done, swarm_id))

    def _next(self, swarm_id: str) -> str | None:
        """Return the task that a swarm is to do next."""
        waiting = self._backlog.of(swarm_id)
        return next((each for each in waiting if f"/{each}" not in self._put_off), None)

    async def _work(self, swarm_id: str) -> None:
        try:
            await self._runs.check()
            async with self._turns.turn(swarm_id):
                self._jobs[swarm_id].waiting = False
                await self._claim(swarm_id)
        except StoreClosed:
            raise
        except (FabricError, StoreError) as error:
            _log.warning("chassis_tasks_put_off", swarm_id=swarm_id, error=str(error))
            self._wait(swarm_id)

    def _done(self, swarm_id: str, _work: asyncio.Task[None]) -> None:
        del self._jobs[swarm_id]
        if not self._jobs:
            self._idle.set()
        self._woken.set()

    async def _claim(self, swarm_id: str) -> None:
        # While it waited for its turn, all of this may have changed.
        loaded, task_id = self._contracts.view.get(swarm_id), self._next(swarm_id)
        if loaded is None or task_id is None or self._draining:
            return
        outcome = await self._claims.claim_anew(swarm_id, task_id, self._ttl)
        if outcome.refusal is None and outcome.task is not None:
            await self._held(loaded, outcome.task)
        elif outcome.refusal in _OF_THE_TASK:
            self._wait(f"/{task_id}")
        elif outcome.refusal not in _PASSED:
            self._wait(swarm_id)

    def _wait(self, what: str, seconds: float = _RETRY_SECONDS) -> None:
        """Put off a swarm, or a task, whose id has a slash before it."""
        self._put_off[what] = self._clock.monotonic() + seconds

    async def _held(self, loaded: LoadedSwarm, task: Task) -> None:
        swarm_id, task_id, attempt = loaded.swarm_id, task.task_id, task.attempt
        held = (swarm_id, task_id, attempt)
        begun = self._clock.now()

        async def report(percent: int, note: str) -> None:
            await self._claims.progress(
                *held,
                percent=percent,
                note=note,
                blocked_on=(),
                next_action="",
                ttl=self._ttl,
            )

        request = partial(self._egress.request, *held)
        host = GuestHost(loaded, task_id, report, request, partial(self._scratch.answer, *held))
        async with asyncio.TaskGroup() as group:
            work = group.create_task(self._run(loaded, task, host))
            running = self._running[task_id] = _Running(swarm_id, attempt, work)
            if self._draining:
                work.cancel()
            keeping = group.create_task(self._keep(running, task_id))
            try:
                await asyncio.wait((work,))
                execution = None if work.cancelled() else work.result()
                if execution is not None and not running.given_up:
                    await self._end(Run(loaded, task_id, attempt, begun, execution))
                else:
                    cut = Run(loaded, task_id, attempt, begun, Execution(succeeded=False))
                    await self._leave(cut, running)
            finally:
                keeping.cancel()
                del self._running[task_id]

    async def _run(self, loaded: LoadedSwarm, task: Task, host: GuestHost) -> Execution | None:
        """Run a task; None when this server cannot, by no fault of the swarm."""
        try:
            place = (loaded.swarm_id, task.task_id, task.attempt)
            await self._egress.grant(*place, loaded.contract.endpoints)
            return await self._runs.run(loaded, task.task_id, task.spec.input_json, host)
        except FabricError as error:
            if error.reason is Reason.MODULE_REFUSED:
                return Execution(succeeded=False, reason=error.message)
            _log.warning("chassis_run_failed", task_id=task.task_id, error=str(error))
        except StoreClosed:
            raise
        except StoreError as error:
            _log.warning("chassis_run_failed", task_id=task.task_id, error=str(error))
        return None

    async def _keep(self, running: _Running, task_id: str) -> None:
        """Extend the claim while it is worked on."""
        pause = self._ttl.total_seconds() / _EXTENSIONS
        while True:
            await self._sleep(pause)
            try:
                await self._claims.extend(running.swarm_id, task_id, running.attempt, ttl=self._ttl)
            except (FabricError, StoreError) as error:
                _log.warning("chassis_claim_not_extended", task_id=task_id, error=str(error))
                if isinstance(error, FabricError) and error.reason in _OVER:
                    running.given_up = True
                    running.work.cancel()
                    return

    async def _leave(self, run: Run, running: _Running) -> None:
        """Give a claim back that this server cannot work on any more, if it still has it."""
        held, insist = (run.loaded.swarm_id, run.task_id, run.attempt), self._background.insist
        why = "the claim was over" if running.given_up else "the server cannot go on with it"
        if not running.given_up:
            lose = partial(self._claims.lose, *held, LossKind.DRAINED)
            await insist(f"chassis_back:{run.task_id}", lose)
            swarm_id = run.loaded.swarm_id
            self._wait(swarm_id, self._setbacks.seconds(swarm_id))
        await insist(f"chassis_cut:{run.task_id}", partial(self._recorder.cut, run, why))

    async def _end(self, run: Run) -> None:
        """Write down how a task was run, then end its claim accordingly."""
        held = (run.loaded.swarm_id, run.task_id, run.attempt)
        self._setbacks.forget(run.loaded.swarm_id)
        execution = run.execution
        if execution.succeeded:
            end: Work = partial(
                self._claims.complete, *held, result_json=execution.result_json, cost_micros=0
            )
        else:
            end = partial(
                self._claims.fail,
                *held,
                reason=execution.reason,
                kind=FailureKind.RETRYABLE,
                retry_time=None,
            )
        record = partial(self._recorder.record, run)
        await self._background.insist(f"chassis_record:{run.task_id}", record)
        await self._background.insist(f"chassis_end:{run.task_id}", end)
