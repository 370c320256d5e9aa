"""What is reserved on each account: by live claims, and by claims that are being written."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from infrafabric_server.clock import Clock
from infrafabric_server.governor.budget.rules import BudgetFacts
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.models import FABRIC, Cost, swarm_account


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a claim may still spend; `payer` is the replica whose share of the limit it is from."""

    swarm_id: str
    payer: str
    micros: int


@dataclass(slots=True, eq=False)
class Pending:
    """A reservation whose claim is being written.

    It is `doubtful` when it is not known whether the claim was written. It is `over` when it
    counts no more: the claim was not written, or shows in the views.
    """

    task_id: str
    reservation: Reservation
    doubtful: bool = False
    over: bool = False


class Accounts:
    """The numbers of all accounts, over the ledger and the claims in the views.

    The coordinator calls `count` with each change of a task before any other listener hears of
    it, so that what a claim reserved and what it cost change in one step.

    A pending reservation ends with the next change of its task. The transaction of its claim
    compares the task as it was before: either that change is the claim, which is counted from
    then on as a live one, or the transaction will fail.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._live: defaultdict[str, int] = defaultdict(int)
        self._pending: defaultdict[str, int] = defaultdict(int)
        self._payers: defaultdict[str, int] = defaultdict(int)
        self._unrolled: defaultdict[str, int] = defaultdict(int)
        self._returned: defaultdict[str, int] = defaultdict(int)
        self._by_task: defaultdict[str, list[Pending]] = defaultdict(list)
        # The part of `_pending` that is not in doubt.
        self._unsettled: defaultdict[str, int] = defaultdict(int)
        self._waiting: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)
        ledger.costs.count(self._count_cost)

    def facts(self, account: str, *, reserved: int | None = None) -> BudgetFacts:
        """Return an account's numbers now; `reserved` in place of what is known here."""
        budget = self._ledger.budget(account)
        if reserved is None:
            reserved = self.reserved(account)
        return BudgetFacts(
            account,
            None if budget is None else budget.limit_micros,
            self._ledger.spent(account, self._clock.now()),
            reserved,
        )

    def reserved(self, account: str) -> int:
        """Return what claims may still spend, those that are being written here included."""
        return self._live.get(account, 0) + self._pending.get(account, 0)

    def live(self, account: str) -> int:
        """Return what the claims in the views may still spend."""
        return self._live.get(account, 0)

    def owed(self, payer: str) -> int:
        """Return how much of a replica's share of the fabric's limit is in use.

        That is what its live claims may still spend, and what they have spent that the leader has
        not yet taken off the share.
        """
        return self._payers.get(payer, 0) + self._unrolled.get(payer, 0)

    def unrolled(self, payer: str) -> int:
        """Return what the leader will take off a replica's share for what was spent already."""
        return self._unrolled.get(payer, 0)

    def returned(self, payer: str) -> int:
        """Return the total that a replica's claims have given back to its share; it only grows."""
        return self._returned.get(payer, 0)

    @property
    def payers(self) -> set[str]:
        """The replicas whose shares are in use, and "" for claims that are of no replica."""
        return {*self._payers, *self._unrolled}

    @property
    def pending_micros(self) -> int:
        """What claims that are being written here reserve."""
        return self._pending.get(FABRIC, 0)

    def unsettled(self, account: str) -> int:
        """Return what is reserved by claims whose transactions are under way and not in doubt."""
        return self._unsettled.get(account, 0)

    def may_cover(self, lacking: BudgetFacts, amount: int) -> bool:
        """Tell whether an account would cover an amount if no claim being written succeeded."""
        reserved = lacking.reserved_micros - self.unsettled(lacking.account)
        return replace(lacking, reserved_micros=reserved).covers(amount)

    def count(self, task_id: str, old: Reservation | None, new: Reservation | None) -> None:
        """Note that a task shows a change: what its claim reserved before, and does now."""
        if old is not None:
            self._add(old, -1)
            self._returned[old.payer] += max(0, old.micros - (new.micros if new else 0))
        if new is not None:
            self._add(new, 1)
        for pending in self._by_task.pop(task_id, ()):
            self._end(pending)

    def hold(self, task_id: str, reservation: Reservation) -> Pending:
        """Reserve for a claim that will be written now; `settle` or `doubt` follows."""
        pending = Pending(task_id, reservation)
        self._by_task[task_id].append(pending)
        self._keep(reservation, reservation.micros)
        _change(self._unsettled, _of(reservation), reservation.micros)
        return pending

    def settle(self, pending: Pending) -> None:
        """Note that a claim was not written, or shows in the views."""
        if pending.over:
            return
        waiting = self._by_task[pending.task_id]
        waiting.remove(pending)
        if not waiting:
            del self._by_task[pending.task_id]
        self._end(pending)

    def doubt(self, pending: Pending) -> None:
        """Note that a claim may still be written: it stays reserved until its task changes."""
        if not pending.over and not pending.doubtful:
            pending.doubtful = True
            self._settled(pending.reservation)
            self._wake(pending.reservation)

    async def settled(self, account: str, until: float) -> bool:
        """Wait until a claim on an account is settled; tell whether one was.

        `until` is the time of the event loop after which none is waited for.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[account].append(future)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await future
        return future.done() and not future.cancelled()

    def _end(self, pending: Pending) -> None:
        pending.over = True
        self._keep(pending.reservation, -pending.reservation.micros)
        if not pending.doubtful:
            self._settled(pending.reservation)
        self._wake(pending.reservation)

    def _settled(self, reservation: Reservation) -> None:
        _change(self._unsettled, _of(reservation), -reservation.micros)

    def _wake(self, reservation: Reservation) -> None:
        for account in _of(reservation):
            for future in self._waiting.pop(account, ()):
                if not future.done():
                    future.set_result(None)

    def _keep(self, reservation: Reservation, micros: int) -> None:
        _change(self._pending, _of(reservation), micros)

    def _add(self, reservation: Reservation, sign: int) -> None:
        micros = sign * reservation.micros
        _change(self._live, _of(reservation), micros)
        _change(self._payers, (reservation.payer,), micros)

    def _count_cost(self, old: Cost | None, new: Cost | None) -> None:
        for cost, sign in ((old, -1), (new, 1)):
            if cost is not None and cost.charge and cost.payer:
                _change(self._unrolled, (cost.payer,), sign * cost.micros)


def _of(reservation: Reservation) -> tuple[str, str]:
    return swarm_account(reservation.swarm_id), FABRIC


def _change(sums: defaultdict[str, int], keys: Iterable[str], micros: int) -> None:
    if not micros:
        return
    for key in keys:
        sums[key] += micros
        if not sums[key]:
            del sums[key]
