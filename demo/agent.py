"""An agent in Python: takes tasks from a session, does one at a time, and writes down what it saw.

The work is simulated. What the agent says and hears is real.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from demo.helping import Helping
from demo.journal import Journal
from demo.member import SECONDS_IN_HOUR, Member, run
from demo.plan import FLEET_FILE, MILESTONES, Does, Fleet, SessionPlan, Story
from infrafabric import Client, Session, SessionOptions, TaskHandle
from infrafabric.errors import ClaimVoid
from infrafabric.money import MICROS_PER_USD
from infrafabric.v1.status_pb2 import STATUS_BUSY, STATUS_HELP
from infrafabric.v1.task_pb2 import Task


class Agent:
    """One swarm at work.

    Args:
        member: who it is and where.
        plan: what it can do, and what happens to it.
        journal: where it writes down what it saw.
    """

    def __init__(self, member: Member, plan: SessionPlan, journal: Journal) -> None:
        self._member = member
        self._plan = plan
        self._journal = journal
        # Whatever happens to this session happens once, to its first process.
        self._story = None if journal.earlier else plan.story
        self._hands = asyncio.Lock()
        self._claiming: dict[str, float] = {}
        self._session = Session(
            member.server,
            swarm_id=plan.id,
            capabilities=plan.capabilities,
            cost_per_hour_micros=plan.cost_per_hour * MICROS_PER_USD,
            on_offer=self._want,
            options=SessionOptions(model=plan.model),
        )
        self._helping = Helping(member, plan, self._session, self._hands, journal)
        # What others spent on help with a task.
        self._helped: dict[str, int] = {}

    async def run(self) -> None:
        """Finish what an earlier process left, then work until the session ends."""
        await self._tell_unfinished()
        async with self._session as session, asyncio.TaskGroup() as tasks:
            await session.opened()
            self._journal.write("opened", pid=os.getpid())
            tasks.create_task(self._helping.run())
            async for task in session:
                self._note_receipt(task)
                tasks.create_task(self._do(task))

    async def _tell_unfinished(self) -> None:
        """Report as done what the journal of a killed process shows as begun.

        The claims died with that process, so the fabric has to refuse this.
        """
        ended = {
            (record["task_id"], record["attempt"])
            for record in self._journal.earlier
            if record["event"] in ("completed", "lost")
        }
        begun = {
            (record["task_id"], record["attempt"])
            for record in self._journal.earlier
            if record["event"] == "received"
        }
        async with Client(self._member.server) as client:
            for task_id, attempt in sorted(begun - ended):
                try:
                    await client.claims.complete(self._plan.id, task_id, attempt)
                except ClaimVoid as error:
                    self._journal.write("refused", task_id, attempt, reason=error.reason)
                else:
                    self._journal.write("completed", task_id, attempt)

    def _want(self, offered: Task) -> bool:
        self._claiming[offered.task_id] = time.perf_counter()
        return True

    def _note_receipt(self, task: TaskHandle) -> None:
        self._journal.write("received", task.task_id, task.attempt)
        begin = self._claiming.pop(task.task_id, None)
        if begin is not None:
            seconds = time.perf_counter() - begin
            self._journal.write("claimed", task.task_id, task.attempt, seconds=seconds)

    async def _do(self, task: TaskHandle) -> None:
        try:
            async with task.guard(), self._hands:
                await self._work(task)
        except ClaimVoid as error:
            self._journal.write("refused", task.task_id, task.attempt, reason=error.reason)
        if task.lost is not None:
            self._journal.write("lost", task.task_id, task.attempt, detail=task.lost.detail)

    async def _work(self, task: TaskHandle) -> None:
        hours = task.task.estimated_duration.ToTimedelta().total_seconds() / SECONDS_IN_HOUR
        for percent in MILESTONES:
            await self._member.work(hours / len(MILESTONES))
            await task.progress(percent)
            self._journal.write("progress", task.task_id, task.attempt, percent=percent)
            await self._undergo(task, percent)
        own = round(hours * self._plan.cost_per_hour * MICROS_PER_USD)
        await task.complete(
            {"simulated_hours": hours}, cost_micros=own + self._helped.get(task.task_id, 0)
        )
        self._journal.write("completed", task.task_id, task.attempt)

    async def _undergo(self, task: TaskHandle, percent: int) -> None:
        """Let happen what the story has for this session, in the task that it is for."""
        story = self._story
        if story is None or percent != story.at_percent:
            return
        if task.task.filler or story.task not in ("", task.task_id):
            return
        self._story = None
        match story.does:
            case Does.KILLED:
                # Work that would not end: the supervisor sees the milestone and kills the process.
                await asyncio.Event().wait()
            case Does.BLOCKED:
                await self._be_blocked(task, story.because, story.needs)
            case Does.HELP:
                await self._ask_for_help(task, story.because, story.needs)
            case Does.HELPED:
                await self._be_helped(task, story)

    async def _be_blocked(self, task: TaskHandle, why: str, needs: tuple[str, ...]) -> None:
        async with _laid_aside(self._hands):
            self._journal.write("blocked", task.task_id, task.attempt, why=why)
            await task.block(why, needs)
            await task.unblocked()
            self._journal.write("unblocked", task.task_id, task.attempt)

    async def _be_helped(self, task: TaskHandle, story: Story) -> None:
        about = (task.task_id, task.attempt)
        async with _laid_aside(self._hands), Client(self._member.server) as client:
            self._journal.write("blocked", *about, why=story.because)
            await task.block(story.because, story.needs)
            wanted = await client.help.request(
                *(self._plan.id, *about, story.because, story.needs),
                budget_micros=story.budget * MICROS_PER_USD,
                request_id=f"{task.task_id}-{task.attempt}",
            )
            self._journal.write("asked", *about, help_id=wanted.help_id)
            await task.unblocked()
            self._journal.write("unblocked", *about)
            async for each in client.help.list():
                if each.help_id == wanted.help_id:
                    self._helped[task.task_id] = each.spent_micros

    async def _ask_for_help(self, task: TaskHandle, why: str, needs: tuple[str, ...]) -> None:
        reply = None
        # Said while a server is being killed, it has no answer: it is asked again at the next one.
        while reply is None:
            await self._session.opened()
            reply = await self._session.status(
                STATUS_HELP, task_id=task.task_id, message=why, needs=needs
            )
        helpers = [helper.swarm_id for helper in reply.helpers]
        self._journal.write("help", task.task_id, task.attempt, helpers=helpers)
        await self._member.work(0.5)
        await self._session.status(STATUS_BUSY, task_id=task.task_id)


@asynccontextmanager
async def _laid_aside(hands: asyncio.Lock) -> AsyncIterator[None]:
    """Free the hands for other work, and take the task up again when they are free."""
    hands.release()
    try:
        yield
    finally:
        await hands.acquire()


async def main(member: Member, journal: Journal) -> None:
    """Run the agent of a session of the fleet."""
    await Agent(member, Fleet.read(FLEET_FILE).session(member.swarm_id), journal).run()


if __name__ == "__main__":
    run(main)
