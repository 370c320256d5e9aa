"""Placing a task by hand: to one swarm, to all that qualify, or to the best one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.creation import Creation
from infrafabric_server.coordinator.dispatcher import Dispatcher
from infrafabric_server.coordinator.endings import Endings
from infrafabric_server.coordinator.link import SessionLink
from infrafabric_server.coordinator.models import (
    ClaimOutcome,
    Dispatch,
    LossKind,
    Task,
    TaskBroadcast,
    TaskSpec,
)
from infrafabric_server.coordinator.offers import Offers
from infrafabric_server.coordinator.records import MAX_TRIES, Decision, Fact, Records
from infrafabric_server.coordinator.registration import Joining, Registration
from infrafabric_server.coordinator.scheduler import Scheduler
from infrafabric_server.coordinator.unassigned import Unassigned
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.governor.gate import Gate
from infrafabric_server.governor.models import CapabilityMatch, ExclusionRule
from infrafabric_server.store.protocol import present


@dataclass(frozen=True, slots=True)
class Placed:
    """How an assignment by hand ended.

    `match` is None when no free swarm fits; then `exclusion_counts` tells how many swarms each
    rule left out.
    """

    task: Task
    match: CapabilityMatch | None
    exclusion_counts: Mapping[ExclusionRule, int] = field(default_factory=dict)


class Placing:
    """The use cases of pushing, broadcasting, assigning and declining."""

    def __init__(
        self,
        records: Records,
        scheduler: Scheduler,
        dispatcher: Dispatcher,
        offers: Offers,
        endings: Endings,
        claims: Claims,
        registration: Registration,
        creation: Creation,
        unassigned: Unassigned,
        gate: Gate,
    ) -> None:
        self._gate = gate
        self._unassigned = unassigned
        self._records = records
        self._scheduler = scheduler
        self._dispatcher = dispatcher
        self._offers = offers
        self._endings = endings
        self._claims = claims
        self._registration = registration
        self._creation = creation

    async def push(self, swarm_id: str, task_id: str) -> Task:
        """Offer an available task to one swarm; only that swarm may claim it.

        Raises TASK_NOT_FOUND, TASK_ENDED, TASK_NOT_AVAILABLE, SWARM_NOT_FOUND, NO_SESSION.
        """
        session = self._records.fleet.sessions.key(swarm_id)

        def rule(task: Task) -> Decision | None:
            self._placeable(task)
            if self._records.fleet.swarms.get(swarm_id) is None:
                raise FabricError(Reason.SWARM_NOT_FOUND, f"no swarm has the id {swarm_id}")
            record = self._records.fleet.sessions.get(swarm_id)
            if record is None or record.role is not SessionRole.WORKER:
                raise FabricError(
                    Reason.NO_SESSION, f"swarm {swarm_id} has no open session that takes tasks"
                )
            closed = self._gate.closed(swarm_id)
            if closed is not None:
                message = f"swarm {swarm_id} takes no tasks now: {closed.detail}"
                raise FabricError(Reason.NO_SESSION, message)
            if task.offered_to == swarm_id:
                return None
            fact = Fact("task_pushed", swarm_id, task_id, task.attempt)
            compares = [present(session), *self._gate.compares(swarm_id)]
            return Decision(rules.offer(task, swarm_id), [fact], compares)

        return await self._records.change(task_id, rule)

    async def broadcast(self, task_id: str) -> TaskBroadcast:
        """Offer an available task to every swarm that qualifies; the first claim wins.

        Raises TASK_NOT_FOUND, TASK_ENDED, TASK_NOT_AVAILABLE.
        """

        def rule(task: Task) -> Decision | None:
            self._placeable(task)
            offered = rules.broadcast(task)
            if offered == task:
                return None
            return Decision(
                offered, [Fact("task_broadcast", task_id=task_id, attempt=task.attempt)]
            )

        task = await self._records.change(task_id, rule)
        sessions = self._records.fleet.sessions.items()
        workers = [swarm_id for swarm_id, each in sessions if each.role is SessionRole.WORKER]
        qualified = filter(self._offers.qualifier(task), workers)
        return TaskBroadcast(task=task, offered=sum(1 for _ in qualified))

    async def hand_over(
        self, swarm_id: str, task_id: str, title: str, input_json: str
    ) -> ClaimOutcome:
        """Claim a task for a swarm, as it would itself; both are made known if they are not.

        With an open session the claim is bound to it and pushed down it. A repeat is won
        again. Raises LIMIT_REACHED, CONTENTION.
        """
        if self._records.fleet.swarms.get(swarm_id) is None:
            await self._registration.register(Joining(swarm_id))
        if await self._records.find(task_id) is None:
            spec = TaskSpec(
                task_id=task_id,
                title=title,
                input_json=input_json,
                create_time=self._records.clock.now(),
            )
            try:
                await self._creation.create([(spec, Dispatch.MANUAL)])
            except FabricError as error:
                if error.reason is not Reason.TASK_EXISTS:
                    raise
        session = self._records.fleet.sessions.entry(swarm_id)
        worker = session is not None and session.value.role is SessionRole.WORKER
        epoch = session.mod_revision if session is not None and worker else None
        return await self._claims.claim(swarm_id, task_id, epoch)

    async def assign(self, task_id: str) -> Placed:
        """Claim an available task for the best free swarm that has a session, and push it.

        Raises TASK_NOT_FOUND, TASK_ENDED, TASK_NOT_AVAILABLE, CONTENTION.
        """
        looked = False
        for _ in range(MAX_TRIES):
            entry = self._records.tasks.entry(task_id)
            if entry is None:
                raise FabricError(Reason.TASK_NOT_FOUND, f"no task has the id {task_id}")
            self._placeable(entry.value)
            assignment = await self._dispatcher.assign(entry.value, entry.mod_revision)
            after = self._records.tasks.entry(task_id) or entry
            if assignment is not None:
                return Placed(after.value, assignment.match)
            if after == entry and (looked or not await self._records.mirror.catch_up()):
                return Placed(after.value, None, await self._unassigned.counts(after.value))
            looked = True
        raise FabricError(
            Reason.CONTENTION, f"task {task_id} changes too fast; try again", retry_after=0.1
        )

    def _placeable(self, task: Task) -> None:
        if task.state.ended:
            raise FabricError(
                Reason.TASK_ENDED, f"task {task.task_id} is {task.state}, which cannot change"
            )
        if not rules.on_offer(task, self._records.clock.now()):
            why = (
                f"waits until {task.available_time:%Y-%m-%dT%H:%M:%SZ} after a failure"
                if task.available_time is not None
                else f"is {task.state}"
            )
            raise FabricError(
                Reason.TASK_NOT_AVAILABLE,
                f"task {task.task_id} {why}; it must be available",
            )

    def offer_answered(self, link: SessionLink, task_id: str) -> None:
        """Note that a session has claimed what was on offer, whether it won or lost."""
        self._offers.answered(link, task_id)

    async def decline(self, link: SessionLink, task_id: str, attempt: int) -> Task:
        """Refuse an offer (attempt 0) or give an assignment back that was not begun.

        The session is not given the task again. Raises TASK_NOT_FOUND and, with an attempt,
        as `rules.holder_claim`.
        """
        task = self._records.tasks.get(task_id)
        if task is None:
            raise FabricError(Reason.TASK_NOT_FOUND, f"no task has the id {task_id}")
        if attempt:
            rules.holder_claim(task, link.swarm_id, attempt)
        if not task.state.ended:
            self._offers.declined(link, task_id)
        if attempt == 0:
            if not task.state.ended:
                self._scheduler.refuse(link.swarm_id, task_id)
            if task.offered_to == link.swarm_id:
                await self._endings.withdraw_offer(task_id, link.swarm_id)
        else:
            await self._claims.lose(link.swarm_id, task_id, attempt, LossKind.DECLINED)
        return self._records.tasks.get(task_id) or task
