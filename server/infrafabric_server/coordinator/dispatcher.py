"""Brings tasks to swarms: writes the scheduler's pairs and speaks to the sessions."""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.admission import ClaimRefused
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.background import Background
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.frames import Delivery, TaskFrame
from infrafabric_server.coordinator.link import Links, SessionLink
from infrafabric_server.coordinator.models import LossKind, Refusal, Task, TaskState
from infrafabric_server.coordinator.records import MAX_TRIES, Decision, Fact, Records
from infrafabric_server.coordinator.scheduler import Assignment, Scheduler
from infrafabric_server.coordinator.slots import Slots
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.mirror import Entry
from infrafabric_server.store.protocol import StoreError, unchanged

# Wait before an assignment that the store refused is tried again.
RETRY_SECONDS = 1.0

# For so long a task that arrives is left to the leader, which needs some milliseconds for it. After
# that there is none, or it knows of no swarm.
LEFT_SECONDS = 0.25

# Swarms that choose in one turn of the event loop: at most 0.5 ms each, in the worst shapes.
TURN = 16

_log = structlog.get_logger(__name__)


class Dispatcher:
    """Assigns waiting tasks to free swarms as soon as either appears.

    `settle` decides at once and in memory; what it decides is written in the background.
    An assignment is pushed when it is seen to be written, never before, whoever wrote it.
    """

    def __init__(
        self,
        records: Records,
        scheduler: Scheduler,
        links: Links,
        timers: Timers,
        background: Background,
        claims: Claims,
        slots: Slots,
        attendance: Attendance,
        ack_seconds: float,
    ) -> None:
        self._records = records
        self._slots = slots
        self._attendance = attendance
        self._scheduler = scheduler
        self._links = links
        self._timers = timers
        self._ack_seconds = ack_seconds
        self._background = background
        self._claims = claims
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Note that something changed that may lead to an assignment."""
        self._wake.set()

    async def run(self) -> None:
        """Settle whenever something changed, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self.settle(TURN)
            if self._background.running and not self._scheduler.idle:
                self.wake()
                await asyncio.sleep(0)

    def settle(self, most: int | None = None) -> None:
        """Match what changed, for at most so many swarms, and start writing what was found."""
        if not self._background.running:
            return
        if self._scheduler.deferred:
            # The money that a claim was to take comes back unheard of when the claim fails.
            self._timers.set("deferred", RETRY_SECONDS, self.wake)
        for assignment in self._scheduler.settle(most):
            self._background.spawn(f"assign:{assignment.task_id}", partial(self._write, assignment))
        for task_id in self._scheduler.revived():
            self.leave(task_id)

    def leave(self, task_id: str) -> None:
        """Leave a task to the leader for a moment, then see whether it still waits."""
        self._timers.set(f"left:{task_id}", LEFT_SECONDS, lambda: self._left_over(task_id))

    def _left_over(self, task_id: str) -> None:
        entry = self._waiting(task_id)
        if entry is not None and self._scheduler.waits(task_id):
            self._scheduler.left_over(entry.value, age(entry.create_revision, entry.value))
            self.wake()

    def reserve_for(self, task: Task) -> Assignment | None:
        """Reserve the best free swarm for a task that the caller will write, or None.

        A task for which many swarms would have to be tried waits for `settle`.
        """
        return self._scheduler.reserve_for(task)

    def done(self, assignment: Assignment) -> None:
        """Give up a reservation after its claim was written or failed."""
        self._scheduler.done(assignment)
        self.wake()

    def assigned(self, task: Task, assignment: Assignment) -> Decision | None:
        """Return the claim of an assignment, bound to the session it is for; None if that is gone.

        A blocked task counts as ready: the caller has seen its dependencies completed.
        """
        swarm_id = assignment.swarm_id
        sessions = self._records.fleet.sessions
        link = self._links.get(swarm_id)
        session = sessions.entry(swarm_id)
        if link is None and (session is None or not self._attendance.attends(session)):
            return None
        epoch = link.epoch if link is not None else session.mod_revision if session else 0
        if task.state is TaskState.BLOCKED:
            task = rules.unblock(task)
        claimed = self._slots.claimed(task, swarm_id, None)
        match = assignment.match
        details = {} if match is None else {"match": match.match, "score": match.score}
        facts = [Fact("task_assigned", swarm_id, task.task_id, claimed.attempt, details)]
        if task.offered_to not in ("", swarm_id):
            # By hand: what a person says last holds.
            facts.insert(0, Fact("offer_withdrawn", task.offered_to, task.task_id, task.attempt))
        return Decision(claimed, facts, [unchanged(sessions.key(swarm_id), epoch)])

    async def make_ready(self, task_id: str) -> None:
        """Make a blocked task whose dependencies are completed available, or assign it at once."""
        for tried in range(MAX_TRIES):
            entry = self._records.tasks.entry(task_id)
            if entry is None or entry.value.state is not TaskState.BLOCKED:
                return
            ready = rules.unblock(entry.value)
            assignment = None
            # Who may not have it after all, or a session that is over, is not to hold it up.
            if ready.assigned and not tried:
                self.settle()
                assignment = self.reserve_for(ready)
            decision = Decision(ready, [Fact("task_unblocked", task_id=task_id)])
            if assignment is not None:
                decision = self.assigned(ready, assignment) or decision
            if await self._commit(task_id, entry.mod_revision, decision, assignment):
                return
        raise FabricError(Reason.CONTENTION, f"task {task_id} changes too fast to be made ready")

    async def assign(self, task: Task, mod_revision: int) -> Assignment | None:
        """Assign one task by hand; None when no free swarm fits or the task changed meanwhile."""
        self.settle()
        assignment = self._scheduler.reserve_for(task, by_hand=True)
        if assignment is None:
            return None
        decision = self.assigned(task, assignment)
        written = decision is not None and await self._commit(
            task.task_id, mod_revision, decision, assignment
        )
        if decision is None:
            self.done(assignment)
        return assignment if written else None

    async def _write(self, assignment: Assignment) -> None:
        entry = self._records.tasks.entry(assignment.task_id)
        decision = None
        if entry is not None and rules.on_offer(entry.value, self._records.clock.now()):
            decision = self.assigned(entry.value, assignment)
        if entry is None or decision is None:
            self.done(assignment)
            self._again(assignment.task_id)
            return
        try:
            written = await self._claim(
                assignment.task_id, entry.mod_revision, decision, assignment
            )
        except ClaimRefused as refused:
            if await self.refused(refused):
                self._again(assignment.task_id)
            return
        except (FabricError, StoreError) as error:
            _log.warning("assignment_not_written", task_id=assignment.task_id, error=str(error))
            self._later(assignment.task_id)
            return
        if not written:
            self._again(assignment.task_id)

    async def _commit(
        self, task_id: str, seen: int, decision: Decision, assignment: Assignment | None
    ) -> bool:
        try:
            return await self._claim(task_id, seen, decision, assignment)
        except ClaimRefused as refused:
            await self.refused(refused)
            return False

    async def _claim(
        self, task_id: str, seen: int, decision: Decision, assignment: Assignment | None
    ) -> bool:
        compares = [unchanged(self._records.tasks.key(task_id), seen), *decision.compares]
        writes = [self._records.tasks.put(task_id, decision.task), *decision.writes]
        try:
            if decision.task.claim is None:
                result = await self._records.commit(compares, writes, decision.facts)
            else:
                result = await self._slots.claim(decision.task, compares, writes, decision.facts)
        finally:
            if assignment is not None:
                self.done(assignment)
        return result.succeeded

    async def refused(self, refused: ClaimRefused) -> bool:
        """Have a pair not chosen again that was refused, as long as nothing changes for it.

        Return whether the views show now why it was. Else nothing tells when it changes, and the
        task looks for a swarm again after a while.
        """
        # The views miss claims of other replicas, and would lead to the same swarm again.
        news = await self._records.mirror.catch_up()
        if refused.refusal is Refusal.NO_SLOT:
            return True
        task = self._records.tasks.get(refused.task_id)
        if task is not None and self._slots.refusal(task, refused.swarm_id) is not None:
            return True
        if not news:
            self._scheduler.unpaid(refused)
        self._later(refused.task_id)
        return False

    def _later(self, task_id: str) -> None:
        self._timers.set(f"assign:{task_id}", RETRY_SECONDS, lambda: self._anew(task_id))

    def _anew(self, task_id: str) -> None:
        self._scheduler.reconsider(task_id)
        self._again(task_id)

    def _again(self, task_id: str) -> None:
        entry = self._waiting(task_id)
        if entry is not None:
            self._scheduler.task_waits(entry.value, age(entry.create_revision, entry.value))
            self.wake()

    def _waiting(self, task_id: str) -> Entry[Task] | None:
        """Return a task if it waits to be assigned."""
        entry = self._records.tasks.entry(task_id)
        if entry is None or not entry.value.assigned or entry.value.offered_to:
            return None
        return entry if rules.on_offer(entry.value, self._records.clock.now()) else None

    def task_changed(self, old: Task | None, new: Task | None) -> None:
        """Push a task that was claimed for a session of this replica, or taken up again."""
        held = new.claim if new is not None else None
        if new is None or held is None or held.expire_time is not None or held.parked:
            return
        link = self._links.get(held.swarm_id)
        session = self._records.fleet.sessions.entry(held.swarm_id)
        if link is None or session is None or session.mod_revision != link.epoch:
            return
        if link.working.get(new.task_id) != held.attempt:
            if new.task_id in link.claiming:
                link.working[new.task_id] = held.attempt
            else:
                self.deliver(link, new, Delivery.ASSIGNED)
        elif old is not None and old.claim is not None and old.claim.parked:
            self.deliver(link, new, Delivery.RETURNED)

    def deliver(self, link: SessionLink, task: Task, delivery: Delivery) -> None:
        """Push a task to the session that holds it; it must be acknowledged."""
        attempt = task.attempt
        link.working[task.task_id] = attempt
        link.unacknowledged[task.task_id] = attempt
        self._timers.set(
            ack_timer(link, task.task_id),
            self._ack_seconds,
            lambda: self._not_acknowledged(link, task.task_id, attempt),
        )
        send_tasks(link, [task], delivery)

    def _not_acknowledged(self, link: SessionLink, task_id: str, attempt: int) -> None:
        """Take back an assignment that its session did not confirm in time."""
        current = self._links.get(link.swarm_id)
        sessions = self._records.fleet.sessions
        session = sessions.entry(link.swarm_id)
        # The session may be resumed at another replica, and the task acknowledged there.
        gone = session is None or session.mod_revision != link.epoch
        if link.unacknowledged.get(task_id) != attempt or current not in (link, None) or gone:
            return
        link.suspended = True
        still = unchanged(sessions.key(link.swarm_id), link.epoch)
        lose = partial(self._claims.lose, link.swarm_id, task_id, attempt)
        self._background.spawn(
            f"unacknowledged:{task_id}", partial(lose, LossKind.NOT_ACKNOWLEDGED, still)
        )


def age(create_revision: int, task: Task) -> tuple[int, int]:
    """Return what the age of a task is compared by: when it was created, and its place there."""
    return create_revision, task.spec.position


def ack_timer(link: SessionLink, task_id: str) -> str:
    """Return the name of the timer that waits for an acknowledgement."""
    return f"ack:{link.epoch}:{task_id}"


def send_tasks(link: SessionLink, tasks: Sequence[Task], delivery: Delivery) -> None:
    """Send task frames and take their credit."""
    if link.credit is not None:
        link.credit = max(0, link.credit - len(tasks))
    link.send(*(TaskFrame(task, delivery) for task in tasks))
