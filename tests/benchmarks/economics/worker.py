"""A swarm at work: it follows its session, spends, reports, and ends as its course says."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise

from infrafabric_server.coordinator.frames import Frame, Halt, Revoked, TaskFrame
from infrafabric_server.coordinator.link import SessionLink
from infrafabric_server.coordinator.models import FailureKind, Task
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.budget.ports import Spent
from tests.benchmarks.economics.attempts import Course, Ending
from tests.benchmarks.economics.books import Books, Spell, Stop
from tests.benchmarks.economics.world import HOUR, Swarm
from tests.harness.fabric import Fabric

# In how many parts the cost of an attempt is reported: the last one with its end.
_REPORTS = 4
_FRAMES = 64
# What is said of a claim that is gone.
_TAKEN = (Reason.STALE_ATTEMPT, Reason.NOT_OWNER, Reason.TASK_NOT_CLAIMED, Reason.TASK_ENDED)

Begin = Callable[[Swarm, Task], tuple[str, Course]]
"""Given a task that was taken up, tells which job it is and how the attempt will go."""

Ended = Callable[[Spell], Awaitable[None]]
"""Told of an attempt that is over."""


@dataclass(slots=True)
class _Running:
    """An attempt under way, and what tells it to stop."""

    attempt: int
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    taken: bool = False


class Worker:
    """One swarm with an open session. It works on what it is sent until its stream ends."""

    def __init__(
        self,
        fabric: Fabric,
        swarm: Swarm,
        link: SessionLink,
        books: Books,
        group: asyncio.TaskGroup,
        begin: Begin,
        ended: Ended,
    ) -> None:
        self._fabric = fabric
        self._swarm = swarm
        self._link = link
        self._books = books
        self._group = group
        self._begin = begin
        self._ended = ended
        self._running: dict[str, _Running] = {}

    async def run(self) -> None:
        """Follow the session to its end."""
        ending = None
        while ending is None:
            frames, ending = await self._link.take(_FRAMES)
            for frame in frames:
                self._hear(frame)

    def _hear(self, frame: Frame) -> None:
        match frame:
            case TaskFrame(task=task):
                # Whoever answers at all says at once that it has the task.
                self._fabric.coordinator.sessions.acknowledge(
                    self._link, task.task_id, task.attempt
                )
                running = self._running[task.task_id] = _Running(task.attempt)
                self._group.create_task(self._work(task, running))
            case Revoked(task_id=task_id, attempt=attempt):
                known = self._running.get(task_id)
                if known is not None and known.attempt == attempt:
                    known.taken = True
                    known.stop.set()
            case Halt() if self._swarm.honest:
                for each in self._running.values():
                    each.stop.set()

    async def _work(self, task: Task, running: _Running) -> None:
        clock = self._fabric.clock
        job_id, course = self._begin(self._swarm, task)
        spell = Spell(
            job_id, task.task_id, task.attempt, self._swarm, course, begin=clock.monotonic()
        )
        self._books.spells.append(spell)
        marks = [course.micros * part // _REPORTS for part in range(_REPORTS + 1)]
        for before, after in pairwise(marks):
            worked = await self._wait(running, course.hours * HOUR / _REPORTS)
            if running.stop.is_set():
                await self._spend(spell, round((after - before) * worked))
                break
            if after < course.micros:
                await self._spend(spell, after - before)
        if self._running.get(task.task_id) is running:
            del self._running[task.task_id]
        await self._end(spell, running)
        spell.end = clock.monotonic()
        await self._ended(spell)

    async def _wait(self, running: _Running, seconds: float) -> float:
        """Work for so long or until told to stop; return the share that was worked."""
        clock = self._fabric.clock
        begin = clock.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await running.stop.wait()
        except TimeoutError:
            return 1.0
        return min(1.0, (clock.monotonic() - begin) / seconds)

    async def _spend(self, spell: Spell, micros: int) -> None:
        """Report a cost; one of a claim that is gone is reported without its task."""
        if micros <= 0:
            return
        swarm_id, costs = self._swarm.swarm_id, self._fabric.coordinator.costs
        spent = Spent(swarm_id, "llm", micros, spell.task_id, spell.attempt)
        try:
            await costs.track(spent, epoch=self._link.epoch)
        except FabricError as error:
            if error.reason not in _TAKEN:
                raise
            await costs.track(Spent(swarm_id, "llm", micros), epoch=self._link.epoch)
        spell.micros += micros

    async def _end(self, spell: Spell, running: _Running) -> None:
        """End the claim as the attempt ended, if it is still there."""
        claims, course = self._fabric.coordinator.claims, spell.course
        held = (self._swarm.swarm_id, spell.task_id, spell.attempt)
        epoch = self._link.epoch
        if running.taken:
            spell.stop = Stop.TAKEN
            return
        try:
            with self._link.ending(spell.task_id):
                if running.stop.is_set():
                    spell.stop = Stop.RELEASED
                    await claims.release(*held, "halted", epoch)
                elif course.ending is Ending.FAILED:
                    await self._spend(spell, course.micros - spell.micros)
                    kind = FailureKind.RETRYABLE
                    await claims.fail(
                        *held, reason="failed", kind=kind, retry_time=None, epoch=epoch
                    )
                else:
                    await claims.complete(
                        *held, result_json="{}", cost_micros=course.micros, epoch=epoch
                    )
                    spell.micros = course.micros
        except FabricError as error:
            if error.reason not in _TAKEN:
                raise
            await self._spend(spell, 0 if spell.stop else course.micros - spell.micros)
            spell.stop = Stop.TAKEN
