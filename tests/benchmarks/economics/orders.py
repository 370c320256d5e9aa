"""Who wants work done: tasks as they arrive, a review of what is said to be done, the end."""

import asyncio
from datetime import timedelta

from infrafabric_server.coordinator.models import Dispatch, TaskSpec, TaskState
from infrafabric_server.errors import FabricError, Reason
from tests.benchmarks.economics.attempts import Ending
from tests.benchmarks.economics.books import Books, Spell
from tests.benchmarks.economics.model import Scenario
from tests.benchmarks.economics.regimes import Regime
from tests.benchmarks.economics.world import HOUR, Job
from tests.harness.fabric import Fabric

# How often it is looked whether the last attempts are over, in seconds.
_LOOK = 60.0
# What is said of a task that came to its end meanwhile.
_OVER = (Reason.TASK_ENDED, Reason.TASK_NOT_FOUND)


class Orders:
    """Creates tasks through the fabric's own use case, and cancels what is left at the end."""

    def __init__(
        self,
        fabric: Fabric,
        scenario: Scenario,
        regime: Regime,
        books: Books,
        group: asyncio.TaskGroup,
    ) -> None:
        self._fabric = fabric
        self._scenario = scenario
        self._regime = regime
        self._books = books
        self._group = group
        self._over = False

    def job_of(self, task_id: str) -> Job:
        """Return the job that a task is for."""
        return self._books.jobs[task_id.partition(".")[0]]

    async def arrive(self) -> None:
        """Create each job's task at its time; return at the end of the overtime."""
        clock = self._fabric.clock
        for job in self._books.jobs.values():
            await asyncio.sleep(job.arrival - clock.monotonic())
            await self._create(job, job.job_id)
        work = self._scenario.work
        await asyncio.sleep((work.hours + work.overtime) * HOUR - clock.monotonic())

    async def close(self) -> None:
        """Cancel what nobody works on, and return when the last attempt is over."""
        self._over = True
        tasks = self._fabric.coordinator.tasks
        while live := [task for _, task in tasks.items() if not task.state.ended]:
            for task in live:
                if task.state is not TaskState.CLAIMED:
                    await self._cancel(task.task_id)
            await asyncio.sleep(_LOOK)

    async def ended(self, spell: Spell) -> None:
        """Take note of an attempt that is over, and review what is wrong in a while."""
        if spell.sound:
            self._books.finished(spell)
        elif spell.stop is None and spell.course.ending is Ending.WRONG:
            self._group.create_task(self._review(spell))

    async def _review(self, spell: Spell) -> None:
        await asyncio.sleep(self._scenario.people.review_hours * HOUR)
        job_id, _, done = spell.task_id.partition(".")
        reviews = int(done or 0) + 1
        if not self._over and reviews <= self._scenario.people.reviews:
            await self._create(self._books.jobs[job_id], f"{job_id}.{reviews}")

    async def _create(self, job: Job, task_id: str) -> None:
        spec = TaskSpec(
            task_id=task_id,
            required_capabilities=job.needs,
            estimated_duration=timedelta(hours=job.estimated_hours),
            max_cost_micros=job.max_micros if self._regime.limits else None,
            create_time=self._fabric.clock.now(),
        )
        dispatch = Dispatch.AUTO if self._regime.choose is None else Dispatch.MANUAL
        await self._fabric.create((spec, dispatch))

    async def _cancel(self, task_id: str) -> None:
        try:
            await self._fabric.coordinator.endings.cancel(task_id, "the day is over")
        except FabricError as error:
            if error.reason not in _OVER:
                raise
