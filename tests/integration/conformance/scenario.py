"""What every client library must bring about, whatever happens to its streams."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from infrafabric import Client
from infrafabric.v1.help_pb2 import HelpState
from infrafabric.v1.status_pb2 import STATUS_IDLE, AgentStatus
from infrafabric.v1.task_pb2 import (
    DISPATCH_BROADCAST,
    DISPATCH_MANUAL,
    TASK_STATE_AVAILABLE,
    Task,
    TaskState,
)
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from tests.integration.conformance.proxy import Course, Cut
from tests.integration.conformance.subject import Subject


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run; names are without the prefix of the run.

    `tasks` has the final state, attempt and owner of each task, and what the witness log says
    of it, oldest first; `registered` is how often that says so of the worker; `told` is what
    the worker's own program was told; `completed` how many completions its status counts.
    """

    tasks: dict[str, tuple[str, int, str, tuple[str, ...]]]
    registered: int
    told: list[tuple[str, str]]
    completed: int


def _given(*decisions: str) -> tuple[str, ...]:
    return ("task_created", "task_assigned", *decisions)


_DONE = _given("progress_reported", "task_completed")
_UNBLOCKED = _given("blocker_reported", "blocker_resolved", "task_completed")

EXPECTED = Outcome(
    tasks={
        "made-1": ("COMPLETED", 1, "w", _DONE),
        "made-2": ("COMPLETED", 1, "w", _DONE),
        "claimed": ("FAILED", 1, "w", ("task_created", "claim_won", "task_failed")),
        "released": ("CANCELLED", 1, "w", _given("task_released", "task_cancelled")),
        "unwanted": ("CANCELLED", 0, "", ("task_created", "task_cancelled")),
        "blocked": ("COMPLETED", 1, "w", _UNBLOCKED),
        "cancelled": ("CANCELLED", 1, "w", _given("task_cancelled")),
        "paid": ("COMPLETED", 1, "w", _given("cost_tracked", "task_completed")),
        "stuck": (
            *("COMPLETED", 1, "a"),
            (
                *("task_created", "claim_won", "blocker_reported", "help_requested"),
                *("help_accepted", "cost_tracked", "blocker_resolved", "help_ended"),
                "task_completed",
            ),
        ),
        "halted": ("CANCELLED", 1, "w", _given("task_released", "task_cancelled")),
        "late": ("COMPLETED", 1, "w", _given("task_completed")),
    },
    registered=1,
    told=[
        ("broadcast", ""),
        ("lost", "cancelled"),
        ("lost", "halted"),
        ("task", "blocked"),
        ("task", "cancelled"),
        ("task", "claimed"),
        ("task", "halted"),
        ("task", "late"),
        ("task", "made-1"),
        ("task", "made-2"),
        ("task", "paid"),
        ("task", "released"),
    ],
    completed=5,
)
"""What each run comes to."""


# Whom the leader asks for help, and when, depends on who is idle at that moment; the worker may be
# away just then, which people are told until it is back.
_SEARCH = frozenset(
    {
        *("help_offered", "help_offer_ended", "help_unqualified"),
        *("escalation_opened", "escalation_closed"),
    }
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run with a worker and an orchestrator, both through the proxy."""

    name: str
    subject: Subject
    proxy: str
    client: Client
    servers: tuple[str, ...]
    cut: Cut | None
    courses: dict[str, Course] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Only a supervisor is told of blockers; everything else is cut on the worker's stream.
        alerts = self.cut is not None and self.cut.kind == "blocker_alert"
        self.courses[self.worker] = Course(None if alerts else self.cut)
        self.courses[self.orchestrator] = Course(self.cut if alerts else None)

    @property
    def worker(self) -> str:
        """Swarm id of the worker, which alone has the capability of the same name."""
        return f"{self.name}.w"

    @property
    def asker(self) -> str:
        """Swarm id of one that has no session, and asks for help."""
        return f"{self.name}.a"

    @property
    def orchestrator(self) -> str:
        """Swarm id of the orchestrator."""
        return f"{self.name}.o"

    async def run(self, restart: Callable[[], Awaitable[None]]) -> Outcome:
        """Go through all that a session can say and hear; `restart` drains the server."""
        await self._open(self.orchestrator, supervises=True)
        await self._open(self.worker, supervises=False)
        await self._create_and_complete()
        await self._claim_and_fail()
        await self._give_back()
        await self._decline()
        await self._block()
        await self._lose()
        await self._spend()
        await self._help()
        await self._halt()
        await self._hear()
        await self._say()
        await restart()
        await self._work_on("late")
        await self._do("complete", task_id=self._id("late"))
        await self._do("close")
        await self.subject.call(self.orchestrator, "close")
        return await self._outcome()

    async def _open(self, session: str, *, supervises: bool) -> None:
        await self.subject.call(
            session,
            "open",
            server=self.proxy,
            capabilities=[session],
            slots=2,
            window=2,
            supervises=supervises,
        )

    def _id(self, task: str) -> str:
        return f"{task}.{self.name}"

    async def _do(self, what: str, **arguments: object) -> object:
        return await self.subject.call(self.worker, what, **arguments)

    async def _told(self, event: str, task: str) -> None:
        await self.subject.event(self.worker, event=event, task_id=self._id(task))

    async def _work_on(self, task: str) -> None:
        """Create a task that only the worker can do, and wait until it has it."""
        await self.client.tasks.create(
            Task(task_id=self._id(task), required_capabilities=[self.worker])
        )
        await self._told("task", task)

    async def _create_and_complete(self) -> None:
        made = [self._id("made-1"), self._id("made-2")]
        assert await self._do("create", task_ids=made, capabilities=[self.worker]) == made
        for task in ("made-1", "made-2"):
            await self._told("task", task)
            # Neither waits for the answer to the other, which a cut may both lose.
            await asyncio.gather(
                self._do("progress", task_id=self._id(task), percent=50),
                self._do("complete", task_id=self._id(task)),
            )

    async def _claim_and_fail(self) -> None:
        task_id = self._id("claimed")
        await self.client.tasks.create(Task(task_id=task_id, dispatch=DISPATCH_MANUAL))
        assert await self._do("claim", task_id=task_id)
        await self._told("task", "claimed")
        await self._do("fail", task_id=task_id)

    async def _give_back(self) -> None:
        await self._work_on("released")
        await self._do("release", task_id=self._id("released"))
        await self.client.tasks.cancel(self._id("released"))

    async def _decline(self) -> None:
        await self.client.tasks.create(
            Task(
                task_id=self._id("unwanted"),
                required_capabilities=[self.worker],
                dispatch=DISPATCH_BROADCAST,
            )
        )
        await self.courses[self.worker].saw("decline")
        await self.client.tasks.cancel(self._id("unwanted"))

    async def _block(self) -> None:
        await self._work_on("blocked")
        waiting = asyncio.create_task(self._do("block", task_id=self._id("blocked")))
        await self.subject.event(
            self.orchestrator, event="alert", task_id=self._id("blocked"), resolved=False
        )
        # At once: the stream of the worker may be cut still.
        await self.client.claims.resolve_blocker(self.worker, task_id=self._id("blocked"))
        await waiting
        await self._do("complete", task_id=self._id("blocked"))

    async def _lose(self) -> None:
        await self._work_on("cancelled")
        await self.client.tasks.cancel(self._id("cancelled"))
        await self._told("lost", "cancelled")

    async def _spend(self) -> None:
        await self._work_on("paid")
        await self._do("cost", task_id=self._id("paid"), operation="llm", micros=5)
        await self._do("complete", task_id=self._id("paid"))
        task = await self.client.tasks.get(self._id("paid"))
        assert task.spent_micros == 5, f"{task.spent_micros} were charged for 5"

    async def _help(self) -> None:
        """Help a swarm with what only the worker can do, at the cost of that swarm."""
        stuck, asker = self._id("stuck"), self.asker
        await self.client.swarms.register(asker, [])
        await self.client.tasks.create(
            Task(task_id=stuck, dispatch=DISPATCH_MANUAL, max_cost_micros=10)
        )
        task = (await self.client.claims.claim(asker, stuck)).task
        wanted = await self.client.help.request(
            asker, stuck, task.attempt, "no key", [self.worker], request_id=self.name
        )
        await self.subject.event(self.worker, event="help", task_id=stuck, asked=True)
        assert await self._do("accept", server=self.servers, help_id=wanted.help_id)
        charge = {"operation": "llm", "micros": 4, "help_id": wanted.help_id}
        assert await self._do("charge", **charge) == 6
        await self.client.claims.resolve_blocker(asker, task_id=stuck)
        over = HelpState.Name(HelpState.HELP_STATE_ENDED)
        await self.subject.event(self.worker, event="help", task_id=stuck, state=over)
        await self.client.claims.complete(asker, stuck, task.attempt)
        spent = (await self.client.tasks.get(stuck)).spent_micros
        assert spent == 4, f"{spent} were charged for 4"

    async def _halt(self) -> None:
        await self._work_on("halted")
        await self.client.breakers.trip(self.worker, "a trial")
        await self.subject.event(self.worker, event="halt", detail="a trial")
        await self._told("lost", "halted")
        # Not by a watch: each run would be told of all tasks of all runs.
        task = await self.client.tasks.get(self._id("halted"))
        while task.state != TASK_STATE_AVAILABLE:
            await asyncio.sleep(0.05)
            task = await self.client.tasks.get(task.task_id)
        await self.client.tasks.cancel(self._id("halted"))
        await self.client.breakers.reset(self.worker, approver="ada", reason="over")

    async def _hear(self) -> None:
        await self.client.statuses.broadcast(self.name)
        for session in (self.worker, self.orchestrator):
            await self.subject.event(session, event="broadcast", message=self.name)

    async def _say(self) -> None:
        for message in ("first", "last"):
            await self._do("status", status="busy", message=message)
        await self._agent(lambda agent: agent.message == "last")
        # By then a cut is long over, and whatever it held up has come.
        await self.courses[self.worker].saw("heartbeat")
        agent = await self._agent(lambda _: True)
        assert agent.message == "last", f"the status said last was replaced by {agent.message}"
        # Or it would be given no more work.
        await self._do("status", status="idle", message="")

    async def _outcome(self) -> Outcome:
        assert all(course.done for course in self.courses.values() if course.cut is not None)
        tasks: dict[str, tuple[str, int, str, tuple[str, ...]]] = {}
        for name in EXPECTED.tasks:
            task = await self.client.tasks.get(self._id(name))
            state = TaskState.Name(task.state).removeprefix("TASK_STATE_")
            owner = task.owner_swarm_id.removeprefix(f"{self.name}.")
            said = await self._decisions(QueryEntriesRequest(task_id=self._id(name)))
            tasks[name] = (state, task.attempt, owner, said)
        about = QueryEntriesRequest(swarm_id=self.worker, operation="swarm_registered")
        told = [
            (event["event"], event.get("task_id", "").removesuffix(f".{self.name}"))
            for event in self.subject.events[self.worker]
            # The other runs' texts come too; a stream is told of halts and help while they last.
            if event.get("message", self.name) == self.name
            and event["event"] not in ("halt", "help")
        ]
        # Once it has them all: the status follows the task.
        agent = await self._agent(
            lambda it: it.status == STATUS_IDLE and it.tasks_completed >= EXPECTED.completed
        )
        registered = len(await self._decisions(about))
        return Outcome(tasks, registered, sorted(told), agent.tasks_completed)

    async def _decisions(self, query: QueryEntriesRequest) -> tuple[str, ...]:
        said = [entry.operation async for entry in self.client.witness.query(query)]
        return tuple(each for each in said if each not in _SEARCH)

    async def _agent(self, wanted: Callable[[AgentStatus], bool]) -> AgentStatus:
        """Return the first status of the worker, from now on, that is `wanted`."""
        async for event in self.client.statuses.watch():
            for agent in (event.snapshot, event.changed):
                if agent.swarm_id == self.worker and wanted(agent):
                    return agent
        raise AssertionError("a watch has no end")
