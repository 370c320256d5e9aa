"""What the coordinator keeps in the store, and how it changes it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.models import BlockerAlert, Task
from infrafabric_server.coordinator.requests import Requests
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.models import Broadcast
from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.store.mirror import Mirror, Write
from infrafabric_server.store.protocol import Compare, Put, Store, TxnResult, unchanged
from infrafabric_server.witness.outbox import Outbox

# Ended tasks leave the views for this prefix, where they can still be found.
ARCHIVE = "archive/"

# Tasks read at once while they are listed.
_PAGE = 256

# A decision that lost this many races in a row is given up: with one winner per race,
# that many losses mean that something feeds on the same key without end.
MAX_TRIES = 32


@dataclass(frozen=True, slots=True)
class Fact:
    """One entry for the witness log, before it has an id and a time."""

    operation: str
    swarm_id: str = ""
    task_id: str = ""
    attempt: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule decided about a task: its next state, why, and what changes with it."""

    task: Task
    facts: Sequence[Fact] = ()
    compares: Sequence[Compare] = ()
    writes: Sequence[Write] = ()


class Records:
    """The coordinator's views, and transactions that carry their witness entries."""

    def __init__(
        self, store: Store, mirror: Mirror, fleet: Fleet, outbox: Outbox, clock: Clock
    ) -> None:
        self.store = store
        self.mirror = mirror
        self.fleet = fleet
        self.clock = clock
        self.tasks = mirror.view("tasks/", Task)
        self.blockers = mirror.view("blockers/", BlockerAlert)
        self.help = mirror.view("help/", HelpRequest)
        self.requests = Requests(store, clock)
        self.broadcasts = mirror.view("broadcasts/", Broadcast)
        self._outbox = outbox

    async def commit(
        self, compares: Sequence[Compare], writes: Sequence[Write], facts: Sequence[Fact]
    ) -> TxnResult:
        """Write everything or nothing, with one witness entry for each fact.

        After a refusal by the compares, the views have caught up with what refused it.
        Raises OUTBOX_FULL before anything is written, and the store's own errors.
        """
        result = await self.mirror.commit(compares, [*writes, *self.entries(facts)])
        await self.settle(result)
        return result

    def entries(self, facts: Sequence[Fact]) -> list[Put]:
        """Return the writes of witness entries. Raises OUTBOX_FULL."""
        self._outbox.check()
        return [
            self._outbox.draft(
                "coordinator",
                fact.operation,
                swarm_id=fact.swarm_id,
                task_id=fact.task_id,
                attempt=fact.attempt,
                details=dict(fact.details),
            )
            for fact in facts
        ]

    async def settle(self, result: TxnResult) -> None:
        """After a refusal by the compares, let the views catch up with what refused it."""
        if not result.succeeded:
            await self.mirror.caught_up(result.revision)

    async def change(self, task_id: str, rule: Callable[[Task], Decision | None]) -> Task:
        """Apply `rule` to a task until it is written on the state that the rule saw.

        A rule that returns None leaves the task as it is: it is asked once more when the view may
        be behind. Returns the task as it is then. An archived task is shown to the rule too: what
        has ended can be said again.
        Raises TASK_NOT_FOUND, whatever the rule raises, and CONTENTION.
        """
        looked = False
        for _ in range(MAX_TRIES):
            entry = self.tasks.entry(task_id)
            if entry is None:
                return await self._unchanged(task_id, rule)
            decision = rule(entry.value)
            if decision is None:
                if not looked and await self.mirror.catch_up():
                    looked = True
                    continue
                return entry.value
            result = await self.commit(
                [unchanged(entry.key, entry.mod_revision), *decision.compares],
                [self.tasks.put(task_id, decision.task), *decision.writes],
                decision.facts,
            )
            if result.succeeded:
                return decision.task
        raise FabricError(
            Reason.CONTENTION,
            f"task {task_id} changed {MAX_TRIES} times while the decision was written; try again",
            retry_after=0.1,
        )

    async def _unchanged(self, task_id: str, rule: Callable[[Task], Decision | None]) -> Task:
        task = await self.find(task_id)
        if task is None or rule(task) is not None:
            raise FabricError(Reason.TASK_NOT_FOUND, f"no task has the id {task_id}")
        return task

    async def find(self, task_id: str) -> Task | None:
        """Return a live or an archived task, or None."""
        task = self.tasks.get(task_id)
        if task is not None:
            return task
        kv = await self.store.get(ARCHIVE + task_id)
        return None if kv is None else self.tasks.decode(kv)

    async def all_tasks(self, after: str) -> AsyncIterator[Task]:
        """Yield live and archived tasks by id, from the first id after `after` on."""
        position = after
        while page := self.tasks.page(position, _PAGE):
            # Read after the page was: what is archived meanwhile is in one of them, if not in both.
            archived = self._archived(position, page[-1].id)
            waiting = await anext(archived, None)
            for entry in page:
                while waiting is not None and waiting.task_id < entry.id:
                    yield waiting
                    waiting = await anext(archived, None)
                if waiting is not None and waiting.task_id == entry.id:
                    waiting = await anext(archived, None)
                yield entry.value
            position = page[-1].id
            # Whoever takes only a few of them may go through all without waiting for anything.
            await asyncio.sleep(0)
        async for task in self._archived(position):
            yield task

    async def _archived(self, after: str, until: str = "") -> AsyncIterator[Task]:
        """Yield archived tasks by id, after one id and until another; "" is the last of all."""
        position = ARCHIVE + after
        more = True
        while more:
            page = await self.store.range(ARCHIVE, limit=_PAGE, after=position)
            for kv in page.kvs:
                if until and kv.key > ARCHIVE + until:
                    return
                yield self.tasks.decode(kv)
                position = kv.key
            more = page.more

    def broadcasts_after(self, revision: int) -> list[tuple[int, Broadcast]]:
        """Return the texts sent after a revision that are still kept, oldest first."""
        # Later ones are still to be announced: see Announcements.
        until = self.mirror.revision if self.mirror.shared else inf
        return [
            (entry.mod_revision, entry.value)
            for entry in sorted(self.broadcasts.entries(), key=lambda entry: entry.mod_revision)
            if revision < entry.mod_revision <= until
        ]

    def blocker_id(self, swarm_id: str, task_id: str) -> str:
        """Return the id under which the blocker of a swarm and task is stored."""
        return f"{swarm_id}/{task_id or '-'}"

    def open_blocker(self, swarm_id: str, task_id: str) -> BlockerAlert | None:
        """Return the open blocker of a swarm and task, or None."""
        alert = self.blockers.get(self.blocker_id(swarm_id, task_id))
        return alert if alert is not None and alert.open else None
