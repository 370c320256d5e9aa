"""Winning a task: one try after the other, until it is won or refused."""

from dataclasses import dataclass
from datetime import timedelta

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.admission import ClaimRefused
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.models import ClaimOutcome, Refusal, Task
from infrafabric_server.coordinator.records import MAX_TRIES, Fact, Records
from infrafabric_server.coordinator.slots import Slots, no_slot
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.models import Violation
from infrafabric_server.store.protocol import Compare, present, unchanged


@dataclass(frozen=True, slots=True)
class Bid:
    """Who claims which task, and how.

    `epoch` is the session that it is claimed in; without one, the claim lives for `ttl`. Unless
    `anew`, a swarm that holds the task already has won it; several of the same id that must not
    share a claim say so.
    """

    swarm_id: str
    task_id: str
    epoch: int | None
    ttl: timedelta
    anew: bool = False


class Winning:
    """Writes claims against everything that they were decided on."""

    def __init__(self, records: Records, capacity: Capacity, slots: Slots) -> None:
        self._records = records
        self._capacity = capacity
        self._slots = slots

    async def win(self, bid: Bid) -> ClaimOutcome:
        """Claim a task by the views as they are.

        Raises SESSION_FENCED and SESSION_EXPIRED when the session is over, CONTENTION.
        """
        swarm_id, task_id, tried = bid.swarm_id, bid.task_id, False
        for _ in range(MAX_TRIES):
            profile = self._records.fleet.swarms.get(swarm_id)
            if profile is None:
                return ClaimOutcome(refusal=Refusal.SWARM_UNKNOWN)
            entry = self._records.tasks.entry(task_id)
            if entry is None:
                return ClaimOutcome(refusal=Refusal.TASK_NOT_FOUND)
            task = entry.value
            if not bid.anew and task.claim is not None and task.claim.swarm_id == swarm_id:
                return ClaimOutcome(refusal=None, owner=swarm_id, task=task)
            now = self._records.clock.now()
            refusal = rules.refusal(task, swarm_id, now)
            if refusal is Refusal.ALREADY_CLAIMED and tried:
                refusal = Refusal.LOST_RACE
            if refusal is not None:
                return _lost(refusal, task)
            won = self._slots.claimed(task, swarm_id, bid.ttl if bid.epoch is None else None)
            try:
                if self._capacity.claimable_slots(swarm_id) <= 0:
                    held = self._capacity.holdings(swarm_id).items()
                    working = [each for each, parked in held if not parked]
                    why = self._slots.refusal(task, swarm_id)
                    raise why or no_slot(swarm_id, task_id, working)
                if await self._write(won, profile, entry.mod_revision, bid.epoch):
                    return ClaimOutcome(refusal=None, owner=swarm_id, task=won)
            except ClaimRefused as refused:
                return _lost(refused.refusal, task, refused.detail, refused.violation)
            tried = True
            self.check_epoch(swarm_id, bid.epoch)
        raise FabricError(
            Reason.CONTENTION, f"task {task_id} changes too fast to be claimed", retry_after=0.1
        )

    async def _write(self, won: Task, profile: SwarmProfile, seen: int, epoch: int | None) -> bool:
        swarm_id = profile.swarm_id
        self._capacity.reserve(swarm_id, won.task_id)
        try:
            result = await self._slots.claim(
                won,
                [
                    unchanged(self._records.tasks.key(won.task_id), seen),
                    present(self._records.fleet.swarms.key(swarm_id)),
                    *self.same_session(swarm_id, epoch),
                ],
                [self._records.tasks.put(won.task_id, won)],
                [Fact("claim_won", swarm_id, won.task_id, won.attempt)],
            )
        finally:
            self._capacity.unreserve(swarm_id, won.task_id)
        return result.succeeded

    def same_session(self, swarm_id: str, epoch: int | None) -> list[Compare]:
        """Return what refuses a transaction once the session that it came through is over."""
        if epoch is None:
            return []
        return [unchanged(self._records.fleet.sessions.key(swarm_id), epoch)]

    def check_epoch(self, swarm_id: str, epoch: int | None) -> None:
        """Raise SESSION_FENCED or SESSION_EXPIRED when a session is over."""
        if epoch is None:
            return
        entry = self._records.fleet.sessions.entry(swarm_id)
        if entry is None or entry.mod_revision != epoch:
            raise FabricError(
                Reason.SESSION_FENCED if entry is not None else Reason.SESSION_EXPIRED,
                f"this session of {swarm_id} is over; nothing was done",
            )


def _lost(
    refusal: Refusal, task: Task, detail: str = "", violation: Violation | None = None
) -> ClaimOutcome:
    owner = task.claim.swarm_id if task.claim is not None else ""
    return ClaimOutcome(refusal=refusal, detail=detail, owner=owner, task=task, violation=violation)
