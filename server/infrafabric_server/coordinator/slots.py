"""What keeps two replicas from filling the same slot of a swarm at once.

Within a process a reservation holds a slot while a claim is written. Where several processes
claim for one swarm, the claims of each swarm are an account: every claim is noted in it in the
claim's own transaction, and decided on the account as it is then. Claims of one swarm that come at
the same time are written together, so that they do not race each other.
"""

import secrets
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.models import Task
from infrafabric_server.coordinator.records import Fact, Records
from infrafabric_server.store.folding import Decision, Folder
from infrafabric_server.store.mirror import Write
from infrafabric_server.store.protocol import Compare, Member, TxnResult, unchanged


class SlotsTakenError(Exception):
    """The swarm works on as many tasks as it may."""


class TakenSlots(BaseModel):
    """Claims of a swarm, each a task and an attempt; stored under `slots/<swarm_id>`.

    Claims that are over stay until the next one is decided. Their keys are never used again: two
    replicas may claim the same attempt, and only one of these notes is to be taken away.
    """

    model_config = ConfigDict(frozen=True)

    claims: dict[str, tuple[str, int]] = {}


class Slots:
    """The slots of all swarms, guarded against the other replicas if there are any."""

    def __init__(self, records: Records, capacity: Capacity) -> None:
        self._records = records
        self._capacity = capacity
        self._folder: Folder[TakenSlots] | None = None
        mirror = records.mirror
        if mirror.shared:
            self._view = mirror.view("slots/", TakenSlots)
            self._folder = Folder(records.store, mirror, self._view, TakenSlots())

    async def claim(
        self,
        claimed: Task,
        compares: Sequence[Compare],
        writes: Sequence[Write],
        facts: Sequence[Fact],
    ) -> TxnResult:
        """Write a claim and what goes with it, as `Records.commit` does.

        Raises SlotsTakenError when the claims of other replicas leave no slot.
        """
        if self._folder is None:
            return await self._records.commit(compares, writes, facts)
        assert claimed.claim is not None
        member = Member(tuple(compares), (*writes, *self._records.entries(facts)))
        mark = secrets.token_hex(8)

        def decide(state: TakenSlots) -> Decision[TakenSlots]:
            taken = self._with(state, claimed, mark)
            return Decision(taken, member, lambda left, end: _settled(left, end, mark))

        result = await self._folder.decide(claimed.claim.swarm_id, decide)
        await self._records.settle(result)
        return result

    def taking(self, claims: Sequence[Task]) -> tuple[list[Compare], list[Write]]:
        """Return what a transaction of several swarms' claims compares and writes of their slots.

        Raises SlotsTakenError as `claim` does.
        """
        if self._folder is None:
            return [], []
        states: dict[str, TakenSlots] = {}
        for task in claims:
            assert task.claim is not None
            swarm_id = task.claim.swarm_id
            state = states.get(swarm_id) or self._view.get(swarm_id) or TakenSlots()
            states[swarm_id] = self._with(state, task, secrets.token_hex(8))
        compares = [compare for swarm_id in states for compare in self.unseen(swarm_id)]
        return compares, [self._view.put(swarm_id, state) for swarm_id, state in states.items()]

    def unseen(self, swarm_id: str) -> list[Compare]:
        """Return what refuses a transaction while the views miss a claim of a swarm."""
        if self._folder is None:
            return []
        entry = self._view.entry(swarm_id)
        return [unchanged(self._view.key(swarm_id), 0 if entry is None else entry.mod_revision)]

    def forget(self, swarm_id: str) -> list[Write]:
        """Return what a deregistration deletes."""
        return [] if self._folder is None else [self._view.delete(swarm_id)]

    async def close(self) -> None:
        """Finish what was accepted. Safe to repeat."""
        if self._folder is not None:
            await self._folder.close()

    def _with(self, state: TakenSlots, claimed: Task, mark: str) -> TakenSlots:
        assert claimed.claim is not None
        swarm_id = claimed.claim.swarm_id
        entry = self._view.entry(swarm_id)
        # An account may be shown before claims that it has had for long.
        whole = entry is not None and entry.mod_revision <= self._records.mirror.revision
        seen = entry.value.claims if entry is not None and whole else {}
        claims = {
            each: claim
            for each, claim in state.claims.items()
            if not self._is_over(swarm_id, *claim, shown=each in seen)
        }
        claims[mark] = (claimed.task_id, claimed.attempt)
        if not self._capacity.has_room(swarm_id, {task_id for task_id, _ in claims.values()}):
            raise SlotsTakenError(f"{swarm_id} has no free slot")
        return TakenSlots(claims=claims)

    def _is_over(self, swarm_id: str, task_id: str, attempt: int, *, shown: bool) -> bool:
        """Tell whether a claim takes a slot no more; one that the views do not show yet does.

        `shown` tells whether the views hold all up to an account that has it. Then they show the
        claim, too, unless it failed or was archived: it is written with the account.
        """
        task = self._records.tasks.get(task_id)
        if task is None or task.attempt < attempt:
            return shown
        if task.attempt > attempt:
            return True
        return task.claim is None or task.claim.swarm_id != swarm_id or task.claim.parked


def _settled(state: TakenSlots, ended: TxnResult, mark: str) -> TakenSlots:
    if ended.succeeded or mark not in state.claims:
        return state
    return TakenSlots(claims={each: claim for each, claim in state.claims.items() if each != mark})
