"""What the fabric itself does to tasks: time runs out, dependencies fail, sessions go."""

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.models import LossKind, Task, TaskState
from infrafabric_server.coordinator.records import ARCHIVE, Decision, Fact, Records
from infrafabric_server.coordinator.settlement import Settlement
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.store.mirror import Write
from infrafabric_server.store.protocol import Delete, Put, absent, unchanged

_LOSSES = {rules.Due.EXPIRED: LossKind.EXPIRED, rules.Due.NO_PROGRESS: LossKind.NO_PROGRESS}


class Endings:
    """Decisions without a caller. Each takes effect only on the state that it was made for."""

    def __init__(self, records: Records, claims: Claims, settlement: Settlement) -> None:
        self._records = records
        self._settlement = settlement
        self._claims = claims

    async def cancel(self, task_id: str, reason: str) -> Task:
        """Call a task off. A repeat is accepted. Raises TASK_NOT_FOUND, TASK_ENDED."""

        def rule(task: Task) -> Decision | None:
            if task.state is TaskState.CANCELLED:
                return None
            if task.state.ended:
                raise FabricError(
                    Reason.TASK_ENDED, f"task {task_id} is {task.state}, which cannot change"
                )
            return self._cancelled(task, reason)

        return await self._records.change(task_id, rule)

    async def doom(self, task_id: str, reason: str) -> None:
        """Cancel a blocked task that can never start."""

        def rule(task: Task) -> Decision | None:
            blocked = task.state is TaskState.BLOCKED
            return self._cancelled(task, reason) if blocked else None

        await self._records.change(task_id, rule)

    def _cancelled(self, task: Task, reason: str) -> Decision:
        cancelled = rules.cancel(task, self._records.clock.now(), reason)
        fact = Fact("task_cancelled", task.last_owner, task.task_id, task.attempt)
        return Decision(cancelled, [fact], (), self._claim_over(task, "the task was cancelled"))

    def _claim_over(self, task: Task, resolution: str) -> list[Write]:
        """Return what ends with the claim of a task that ends by itself, if there is one."""
        if task.claim is None:
            return []
        held = task.claim
        blocker = self._claims.resolved_blocker(held.swarm_id, task.task_id, resolution)
        return [*blocker, *self._settlement.fenced(held, task.task_id)]

    async def overdue(self, seen: Task, due: rules.Due) -> None:
        """Do what is due to a task, if it is still as it was seen."""
        task_id = seen.task_id
        if due is rules.Due.DEADLINE:

            def rule(task: Task) -> Decision | None:
                if task.state.ended:
                    return None
                failed = rules.expire(task, self._records.clock.now())
                fact = Fact("task_deadline_passed", task.last_owner, task_id, task.attempt)
                return Decision(failed, [fact], (), self._claim_over(task, "the deadline passed"))

            await self._records.change(task_id, rule)
            return
        entry = self._records.tasks.entry(task_id)
        if entry is None or entry.value != seen or seen.claim is None:
            return
        await self._claims.lose(
            seen.claim.swarm_id,
            task_id,
            seen.claim.attempt,
            _LOSSES[due],
            unchanged(entry.key, entry.mod_revision),
        )

    async def offer_again(self, task_id: str, seen: int, task: Task) -> None:
        """Write that a task's wait after a failure is over."""
        await self._records.commit(
            [unchanged(self._records.tasks.key(task_id), seen)],
            [self._records.tasks.put(task_id, task)],
            [Fact("task_retried", task_id=task_id, attempt=task.attempt)],
        )

    async def session_lost(self, swarm_id: str, task_id: str, attempt: int) -> None:
        """Take a task from a swarm whose session is gone, unless it has come back."""
        gone = absent(self._records.fleet.sessions.key(swarm_id))
        await self._claims.lose(swarm_id, task_id, attempt, LossKind.SESSION_LOST, gone)

    async def swarm_left(self, swarm_id: str, task_id: str, attempt: int) -> None:
        """Take a task from a swarm that was deregistered, unless it has come back.

        Then it goes back all the same if it was bound to the session, which went with the swarm.
        """
        gone = absent(self._records.fleet.swarms.key(swarm_id))
        lost = await self._claims.lose(swarm_id, task_id, attempt, LossKind.DEREGISTERED, gone)
        task = self._records.tasks.get(task_id)
        if lost is None and task is not None and task.claim and task.claim.expire_time is None:
            await self.session_lost(swarm_id, task_id, attempt)

    async def withdraw_offer(self, task_id: str, swarm_id: str) -> None:
        """Take back the offer of a task to a swarm that does not want it."""

        def rule(task: Task) -> Decision | None:
            if task.offered_to != swarm_id:
                return None
            fact = Fact("offer_withdrawn", swarm_id, task_id, task.attempt)
            return Decision(rules.offer(task, ""), [fact])

        await self._records.change(task_id, rule)

    async def offered_to_nobody(self, task_id: str, swarm_id: str) -> None:
        """Take back the offer of a task to a swarm that has no session which takes tasks."""
        sessions = self._records.fleet.sessions

        def rule(task: Task) -> Decision | None:
            session = sessions.entry(swarm_id)
            there = session is not None and session.value.role is SessionRole.WORKER
            if task.offered_to != swarm_id or there:
                return None
            fact = Fact("offer_withdrawn", swarm_id, task_id, task.attempt)
            seen = 0 if session is None else session.mod_revision
            same = unchanged(sessions.key(swarm_id), seen)
            return Decision(rules.offer(task, ""), [fact], [same])

        await self._records.change(task_id, rule)

    async def archive(self, task_id: str) -> None:
        """Move an ended task out of the views; it can still be found."""
        entry = self._records.tasks.entry(task_id)
        if entry is None or not entry.value.state.ended:
            return
        text = entry.value.model_dump_json(exclude_defaults=True)
        await self._records.commit(
            [unchanged(entry.key, entry.mod_revision)],
            [Delete(entry.key), Put(ARCHIVE + task_id, text)],
            [],
        )

    async def forget_blocker_of(self, swarm_id: str) -> None:
        """Remove what keeps a swarm from going on that was deregistered and has not come back."""
        entry = self._records.blockers.entry(self._records.blocker_id(swarm_id, ""))
        if entry is not None:
            await self._records.commit(
                [
                    unchanged(entry.key, entry.mod_revision),
                    absent(self._records.fleet.swarms.key(swarm_id)),
                ],
                [Delete(entry.key)],
                [],
            )

    async def forget_blocker(self, blocker_id: str) -> None:
        """Remove a resolved blocker from the views; the witness log keeps its story."""
        entry = self._records.blockers.entry(blocker_id)
        if entry is not None and not entry.value.open:
            await self._records.commit(
                [unchanged(entry.key, entry.mod_revision)], [Delete(entry.key)], []
            )
