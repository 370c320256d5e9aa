"""What keeps two claims from taking the same slot of a swarm, or the same money, at once.

Within a process, what a claim takes is held while it is written. Where several processes claim for
one swarm, the claims of each swarm are an account: every claim is noted in it in the claim's own
transaction, with what it reserves, and decided on the account as it is then. Claims of one swarm
that come at the same time are written together, so that they do not race each other.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.admission import Admission, ClaimRefused
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.models import Refusal, Task, TaskClaim
from infrafabric_server.coordinator.records import Fact, Records
from infrafabric_server.governor.budget.accounts import Accounts, Pending, Reservation
from infrafabric_server.governor.budget.shares import Shares
from infrafabric_server.optimise.models import FABRIC, swarm_account
from infrafabric_server.store.folding import Decision, Folder
from infrafabric_server.store.mirror import Write
from infrafabric_server.store.protocol import (
    Compare,
    Member,
    Put,
    StoreUnavailable,
    TxnResult,
    unchanged,
)

# How long a claim waits for others to fail that leave too little for it: a store that works has
# written them long before.
_PATIENCE_SECONDS = 2.0


class _BehindError(Exception):
    """The views lack what an account was decided on."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"the views have to hold revision {revision}")
        self.revision = revision


class TakenSlots(BaseModel):
    """Claims of a swarm, each a task and an attempt; stored under `slots/<swarm_id>`.

    Claims that are over stay until the next one is decided. Their keys are never used again: two
    replicas may claim the same attempt, and only one of these notes is to be taken away.
    `reserved` has what they reserve. `seen_revision` is the revision at which the last note that
    was taken away was seen to be over: who does not see that does not know what it cost.
    """

    model_config = ConfigDict(frozen=True)

    claims: dict[str, tuple[str, int]] = {}
    reserved: dict[str, int] = {}
    seen_revision: int = 0

    def without(self, marks: set[str], seen_revision: int = 0) -> "TakenSlots":
        """Return the account without some notes."""
        return TakenSlots(
            claims={each: claim for each, claim in self.claims.items() if each not in marks},
            reserved={each: left for each, left in self.reserved.items() if each not in marks},
            seen_revision=max(self.seen_revision, seen_revision),
        )


class Slots:
    """The slots and the money of all swarms, guarded against other claims at the same time.

    Every claim is written through it. `in_doubt` is called with each reservation that stays as it
    is not known whether its claim was written.
    """

    def __init__(
        self,
        records: Records,
        capacity: Capacity,
        admission: Admission,
        accounts: Accounts,
        in_doubt: Callable[[Pending], None],
        replica: str,
        shares: Shares | None,
    ) -> None:
        self._records = records
        self._capacity = capacity
        self._admission = admission
        self._accounts = accounts
        self._in_doubt = in_doubt
        self._shares = shares
        self._payer = replica if records.mirror.shared else ""
        self._folder: Folder[TakenSlots] | None = None
        mirror = records.mirror
        if mirror.shared:
            self._view = mirror.view("slots/", TakenSlots)
            self._folder = Folder(records.store, mirror, self._view, TakenSlots())

    def claimed(self, task: Task, swarm_id: str, ttl: timedelta | None) -> Task:
        """Return the task as a claim makes it that reserves what it has to; see `rules.claim`."""
        return rules.claim(
            task,
            swarm_id,
            self._records.clock.now(),
            ttl=ttl,
            reserved_micros=self._admission.amount(task),
            payer=self._payer,
        )

    def refusal(self, task: Task, swarm_id: str) -> ClaimRefused | None:
        """Return why a claim would not be admitted now, whether there is a slot or not."""
        return self._admission.refusal(task, swarm_id)

    async def claim(
        self,
        claimed: Task,
        compares: Sequence[Compare],
        writes: Sequence[Write],
        facts: Sequence[Fact],
    ) -> TxnResult:
        """Write a claim and what goes with it, as `Records.commit` does.

        Raises ClaimRefused when it is not admitted, or claims that are not seen yet leave no slot.
        """
        held = [await self._hold(claimed)]
        # As it was held, however long the claim waits to be written.
        compares = [*compares, *self._shared()]

        async def write() -> TxnResult:
            if self._folder is None:
                admitted = self._admission.compares([_claim(claimed).swarm_id])
                judged = self._admission.judged(facts)
                return await self._records.commit([*compares, *admitted], writes, judged)
            return await self._fold(self._folder, claimed, compares, writes, facts)

        return await self._settled(held, write())

    async def claim_all(
        self,
        claims: Sequence[Task],
        compares: Sequence[Compare],
        writes: Sequence[Write],
        facts: Sequence[Fact],
    ) -> TxnResult:
        """Write claims of several swarms in one transaction; raises as `claim` does."""
        if not claims:
            return await self._records.commit(compares, writes, facts)
        held: list[Pending] = []
        amount = sum(_claim(task).reserved_micros for task in claims)
        if self._shares is not None and not self._shares.covers(amount):
            await self._shares.widen(amount)
        try:
            for task in claims:
                self._check(task)
                if not self._covered(task):
                    claim = _claim(task)
                    raise self._admission.lacking(task, claim.swarm_id, claim.reserved_micros)
                held.append(self._held(task))
            taken, notes = self._taking(claims)
        except ClaimRefused:
            for pending in held:
                self._accounts.settle(pending)
            raise
        admitted = self._admission.compares(_claim(task).swarm_id for task in claims)
        compares = [*compares, *self._shared(), *admitted, *taken]
        judged = self._admission.judged(facts)
        return await self._settled(held, self._records.commit(compares, [*writes, *notes], judged))

    async def _fold(
        self,
        folder: Folder[TakenSlots],
        claimed: Task,
        compares: Sequence[Compare],
        writes: Sequence[Write],
        facts: Sequence[Fact],
    ) -> TxnResult:
        swarm_id = _claim(claimed).swarm_id
        # By the policy that admits the claim: another one may be in force at a second try.
        entries: dict[str, list[Put]] = {}
        mark = secrets.token_hex(8)

        def decide(state: TakenSlots) -> Decision[TakenSlots]:
            taken = self._with(state, claimed, mark)
            admitted = self._admission.compares([swarm_id])
            policy = self._admission.policy_hash
            if policy not in entries:
                entries[policy] = self._records.entries(self._admission.judged(facts))
            member = Member((*compares, *admitted), (*writes, *entries[policy]))
            return Decision(taken, member, lambda left, end: _settled(left, end, mark))

        if self._view.entry(swarm_id) is None and self._admission.limited(swarm_id):
            # Nothing tells what the views may lack of it.
            await self._records.mirror.catch_up()
        while True:
            try:
                result = await folder.decide(swarm_id, decide)
            except _BehindError as behind:
                await self._records.mirror.caught_up(behind.revision)
                continue
            await self._records.settle(result)
            return result

    def _taking(self, claims: Sequence[Task]) -> tuple[list[Compare], list[Write]]:
        if self._folder is None:
            return [], []
        states: dict[str, TakenSlots] = {}
        for task in claims:
            swarm_id = _claim(task).swarm_id
            state = states.get(swarm_id) or self._view.get(swarm_id) or TakenSlots()
            try:
                states[swarm_id] = self._with(state, task, secrets.token_hex(8))
            except _BehindError as behind:
                raise ClaimRefused(
                    swarm_id, task.task_id, Refusal.NOT_AVAILABLE, str(behind)
                ) from behind
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

    async def _hold(self, claimed: Task) -> Pending:
        amount = _claim(claimed).reserved_micros
        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while True:
            try:
                self._check(claimed)
            except ClaimRefused as refused:
                # Claims that are being written may fail, and give back what is missing.
                lacking = refused.lacking
                if lacking is None or not self._accounts.may_cover(lacking, amount):
                    raise
                if not await self._accounts.settled(lacking.account, until):
                    raise
            else:
                if self._covered(claimed):
                    return self._held(claimed)
                await self._widen(claimed, until)

    async def _widen(self, claimed: Task, until: float) -> None:
        """Have the fabric's money for a claim here; raise ClaimRefused if there is not enough."""
        amount = _claim(claimed).reserved_micros
        if self._shares is None or await self._shares.widen(amount):
            return
        may_cover = self._shares.may_cover(amount)
        if not may_cover or not await self._accounts.settled(FABRIC, until):
            raise self._admission.lacking(claimed, _claim(claimed).swarm_id, amount)

    def _covered(self, claimed: Task) -> bool:
        return self._shares is None or self._shares.covers(_claim(claimed).reserved_micros)

    def _shared(self) -> list[Compare]:
        """Return what refuses a claim if what its money was held by has changed."""
        shares = [] if self._shares is None else self._shares.compares()
        return [self._admission.same_limit(), *shares]

    def _check(self, claimed: Task) -> None:
        claim = _claim(claimed)
        self._admission.check(claimed, claim.swarm_id, claim.reserved_micros)

    def _held(self, claimed: Task) -> Pending:
        claim = _claim(claimed)
        return self._accounts.hold(
            claimed.task_id, Reservation(claim.swarm_id, claim.payer, claim.reserved_micros)
        )

    async def _settled(self, held: Sequence[Pending], writing: Awaitable[TxnResult]) -> TxnResult:
        try:
            result = await writing
        except (StoreUnavailable, asyncio.CancelledError):
            for pending in held:
                self._accounts.doubt(pending)
                self._in_doubt(pending)
            raise
        except BaseException:
            for pending in held:
                self._accounts.settle(pending)
            raise
        for pending in held:
            self._accounts.settle(pending)
        return result

    def _with(self, state: TakenSlots, claimed: Task, mark: str) -> TakenSlots:
        claim = _claim(claimed)
        swarm_id = claim.swarm_id
        mirror = self._records.mirror
        limited = self._admission.limited(swarm_id)
        if limited and state.seen_revision > mirror.revision:
            raise _BehindError(state.seen_revision)
        entry = self._view.entry(swarm_id)
        # An account may be shown before claims that it has had for long.
        whole = entry is not None and entry.mod_revision <= mirror.revision
        seen = entry.value.claims if entry is not None and whole else {}
        over = {
            each
            for each, noted in state.claims.items()
            if self._is_over(swarm_id, *noted, shown=each in seen)
        }
        left = state.without(over, self._seen_revision(state, over))
        reserved = self._accounts.live(swarm_account(swarm_id)) + self._unshown(left)
        self._admission.check(claimed, swarm_id, claim.reserved_micros, reserved=reserved)
        left.claims[mark] = (claimed.task_id, claimed.attempt)
        left.reserved[mark] = claim.reserved_micros
        tasks = [task_id for task_id, _ in left.claims.values()]
        if not self._capacity.has_room(swarm_id, set(tasks)):
            raise no_slot(swarm_id, claimed.task_id, tasks)
        return left

    def _unshown(self, state: TakenSlots) -> int:
        """Return what is reserved by claims that the views do not show yet."""
        shown = self._records.tasks
        return sum(
            state.reserved.get(each, 0)
            for each, (task_id, attempt) in state.claims.items()
            if (task := shown.get(task_id)) is None or task.attempt < attempt
        )

    def _seen_revision(self, state: TakenSlots, over: set[str]) -> int:
        entries = (self._records.tasks.entry(state.claims[each][0]) for each in over)
        newest = self._records.mirror.revision
        return max((newest if e is None else e.mod_revision for e in entries), default=0)

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


def no_slot(swarm_id: str, task_id: str, tasks: Iterable[str]) -> ClaimRefused:
    """Return the refusal of a claim for which there is no slot; `tasks` are those that take one."""
    others = [each for each in tasks if each != task_id]
    such = f", such as {others[0]}" if others else ""
    detail = f"{swarm_id} works on as many tasks as it may{such}"
    return ClaimRefused(swarm_id, task_id, Refusal.NO_SLOT, detail)


def _claim(task: Task) -> TaskClaim:
    if task.claim is None:
        raise ValueError(f"task {task.task_id} has no claim to write")
    return task.claim


def _settled(state: TakenSlots, ended: TxnResult, mark: str) -> TakenSlots:
    if ended.succeeded or mark not in state.claims:
        return state
    return state.without({mark})
