"""Runs the fleet on the board, lets the story happen, and brings the evidence in."""

import asyncio
import json
import shutil
from asyncio import TaskGroup
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from demo import programs
from demo.boxed import Boxed
from demo.check.evidence import APPRENTICE, ORCHESTRATOR, SUPERVISOR
from demo.fabric import Fabric
from demo.journal import Journal, journal_path
from demo.member import Member
from demo.outage import Outage
from demo.picture import News, Picture
from demo.plan import BOARD_FILE, BOXED_TASK, FLEET_FILE, Does, Fleet, Runs, SessionPlan
from demo.plants import FORGERIES, Plant
from demo.processes import Process, Processes
from demo.rescue import Rescue
from demo.trial import Trial
from demo.view import View
from infrafabric import Client
from infrafabric.v1.task_pb2 import TASK_STATE_COMPLETED, Task

ROGUE = "session-0-rogue"

# The leader is killed when so many tasks are done: in the middle of the others.
TASKS_BEFORE_OUTAGE = 2

T = TypeVar("T")


class Supervisor:
    """One run, from running servers to the evidence in the run's folder.

    Args:
        processes: where the fleet is started.
        fabric: the servers that were started; of several, one is killed on the way.
        folder: the run's folder.
        second_per_hour: how many seconds an hour of simulated work takes.
        picture: what the streams have shown; the view may draw it.
        view: where news go.
        plant: the fault to plant, if any.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        fabric: Fabric,
        folder: Path,
        second_per_hour: float,
        picture: Picture,
        view: View,
        plant: Plant | None,
    ) -> None:
        self.stage = "starting"
        self._processes = processes
        self._fabric = fabric
        self._folder = folder
        self._second_per_hour = second_per_hour
        self._fleet = Fleet.read(FLEET_FILE)
        self._picture = picture
        self._view = view
        self._plant = plant
        self._journal = Journal(folder, SUPERVISOR)
        self._seen = asyncio.Condition()
        self._members: dict[str, Process] = {}

    async def run(self) -> None:
        """Let the fleet do the board, and bring the evidence in.

        Raises:
            RunFailedError: something ended or answered as it should not.
        """
        try:
            await self._work()
            await self._collect()
        finally:
            self._journal.close()

    async def _work(self) -> None:
        async with Client(self._fabric.grpc) as client, TaskGroup() as group:
            watches = [
                group.create_task(self._watch_tasks(client)),
                group.create_task(self._watch_statuses(client)),
                *(
                    group.create_task(replica.server.process.watch())
                    for replica in self._fabric.replicas
                ),
            ]
            await self._start_fleet(group)
            await self._load_board()
            if len(self._fabric.replicas) > 1:
                watches.append(await self._lose_and_restart_a_server(group))
            else:
                await self._kill_and_restart(group)
            self.stage = "waiting for the last tasks"
            await self._until(lambda: self._picture.finished)
            async with TaskGroup() as scenes:
                scenes.create_task(self._try_the_apprentice())
                scenes.create_task(self._help_the_stuck(client))
                scenes.create_task(self._run_a_module())
            await self._stop_fleet()
            for watch in watches:
                watch.cancel()

    async def _watch_tasks(self, client: Client) -> None:
        async for event in client.tasks.watch():
            if event.HasField("snapshot") or event.HasField("changed"):
                task = event.changed if event.HasField("changed") else event.snapshot
                await self._show(self._picture.see_task(task))

    async def _watch_statuses(self, client: Client) -> None:
        async for event in client.statuses.watch():
            if event.HasField("snapshot") or event.HasField("changed"):
                status = event.changed if event.HasField("changed") else event.snapshot
                await self._show(self._picture.see_status(status))

    async def _show(self, news: list[News]) -> None:
        for each in news:
            self._view.tell(each)
        async with self._seen:
            self._seen.notify_all()

    async def _until(self, reached: Callable[[], T]) -> T:
        """Return what `reached` returns once that is true, after any event."""
        async with self._seen:
            return await self._seen.wait_for(reached)

    async def _start_fleet(self, group: TaskGroup) -> None:
        self.stage = "waiting for all sessions to open"
        command = programs.module("orchestrator", self._member(ORCHESTRATOR))
        self._follow(await self._processes.start(ORCHESTRATOR, command), group)
        for plan in self._fleet.sessions:
            await self._start(plan, group)
        sessions = [plan.id for plan in self._fleet.sessions]
        await self._until(
            lambda: (
                ORCHESTRATOR in self._picture.statuses
                and all(self._picture.waits(swarm_id) for swarm_id in sessions)
            )
        )

    async def _start(self, plan: SessionPlan, group: TaskGroup) -> None:
        """Start a session; the TypeScript command line's own output is its journal."""
        command = programs.session(plan, self._member(plan.id))
        environment = programs.environment(plan, self._member(plan.id), self._fabric.http)
        if plan.runs is Runs.TYPESCRIPT:
            with journal_path(self._folder, plan.id).open("ab") as journal:
                process = await self._processes.start(
                    plan.id, command, stdout=journal, environment=environment
                )
        else:
            process = await self._processes.start(plan.id, command, environment=environment)
        self._follow(process, group)

    def _follow(self, process: Process, group: TaskGroup) -> None:
        """Make the end of a process end the run, unless it is expected."""
        self._members[process.name] = process
        group.create_task(process.watch())

    def _member(self, swarm_id: str) -> Member:
        return Member(swarm_id, self._fabric.grpc, self._folder, self._second_per_hour)

    async def _load_board(self) -> None:
        self.stage = "importing the board"
        await self._infrafabric("board", "import", str(BOARD_FILE))
        self._view.tell(News(f"the board is loaded: {BOARD_FILE.name}"))
        if self._plant is Plant.DOUBLE_CLAIM:
            await self._processes.run(ROGUE, programs.module("rogue", self._member(ROGUE)))

    async def _try_the_apprentice(self) -> None:
        self.stage = f"trying {APPRENTICE}, helping who is stuck, and running a module"
        member = self._member(APPRENTICE)
        trial = Trial(self._infrafabric, self._processes, member, self._journal, self._view)
        await trial.run()

    async def _help_the_stuck(self, client: Client) -> None:
        asker = self._fleet.whose(Does.HELPED)
        assert asker.story is not None
        task_id = asker.story.task
        await Rescue(self._infrafabric, client, self._fleet, asker, self._view).run()
        await self._until(lambda: self._picture.done(task_id))

    async def _run_a_module(self) -> None:
        boxed = Boxed(self._infrafabric, self._journal, self._view)
        await boxed.begin()
        done = await self._until(lambda: self._picture.done(BOXED_TASK))
        assert done is not None
        boxed.end(done)

    async def _infrafabric(self, group: str, command: str, *words: str) -> str:
        """Run a command of the product and return what it printed."""
        return await self._processes.run(
            f"{group}-{command}",
            [programs.INFRAFABRIC, group, command, *words, "--server", self._fabric.grpc],
        )

    async def _lose_and_restart_a_server(self, group: TaskGroup) -> asyncio.Task[None]:
        """Kill the leader; let the next one find out that a session dies; start it again.

        Returns:
            What watches the server that was started again.
        """
        self.stage = f"waiting for {TASKS_BEFORE_OUTAGE} tasks to be done"
        done = TASK_STATE_COMPLETED
        await self._until(lambda: self._picture.states[done] >= TASKS_BEFORE_OUTAGE)
        outage = Outage(self._fabric, self._view)
        self.stage = "waiting for the sessions of the killed server at the others"
        await outage.begin()
        succession = group.create_task(outage.succeeded())
        await self._kill_and_restart(group)
        await succession
        replica = await outage.end()
        return group.create_task(replica.server.process.watch())

    async def _kill_and_restart(self, group: TaskGroup) -> None:
        """Kill a session in the middle of a task, and start it again when that was taken over."""
        victim = self._fleet.whose(Does.KILLED)
        self.stage = f"waiting for {victim.id} to be in the middle of a task"
        task = await self._until(lambda: self._begun(victim))
        assert task is not None
        process = self._members[victim.id]
        process.kill()
        self._journal.write("killed", task.task_id, task.attempt, victim=victim.id, pid=process.pid)
        self._picture.killed.add(victim.id)
        self._view.tell(
            News(
                f"{victim.id} was killed (SIGKILL) in {task.task_id} at {task.milestone_percent} %"
            )
        )
        self.stage = f"waiting for {task.task_id} to be taken over from {victim.id}"
        name, attempt = task.task_id, task.attempt
        await self._until(lambda: self._picture.tasks[name].attempt > attempt)
        self.stage = f"waiting for {victim.id} to come back"
        await self._start(victim, group)
        await self._until(
            lambda: self._picture.waits(victim.id) or bool(self._picture.held_by(victim.id))
        )
        self._picture.killed.discard(victim.id)
        self._view.tell(News(f"{victim.id} is back"))

    def _begun(self, victim: SessionPlan) -> Task | None:
        """Return the victim's task that is at the milestone of the story, if there is one."""
        assert victim.story is not None
        for task in self._picture.held_by(victim.id):
            if not task.filler and task.milestone_percent == victim.story.at_percent:
                return task
        return None

    async def _stop_fleet(self) -> None:
        self.stage = "stopping the fleet"
        await asyncio.gather(*(process.stop() for process in self._members.values()))

    async def _collect(self) -> None:
        """Verify the log and note its head, then export it; plant what is to be planted."""
        self.stage = "exporting the witness log"
        verified = json.loads(await self._infrafabric("witness", "verify", "--json"))
        export = self._folder / "witness.jsonl"
        export.write_text(await self._infrafabric("witness", "export"))
        head = {"sequence": verified["sequence"], "hash": verified["hash"]}
        run = {"witness_head": head, "second_per_hour": self._second_per_hour}
        (self._folder / "run.json").write_text(json.dumps(run, indent=2) + "\n")
        for path in (BOARD_FILE, FLEET_FILE):
            shutil.copy(path, self._folder)
        if self._plant in FORGERIES:
            FORGERIES[self._plant](export)
