"""What every account has spent: what the leader has added up, and what it has not yet."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from heapq import nsmallest
from typing import TypeVar

from infrafabric_server.clock import Clock
from infrafabric_server.optimise.accounts import accounts_of, spent_since
from infrafabric_server.optimise.minutes import Minutes
from infrafabric_server.optimise.models import Budget, Cost, Period, Spending
from infrafabric_server.optimise.periods import period_at, zone
from infrafabric_server.store.mirror import Change, Mirror
from infrafabric_server.store.view import Write

Listener = Callable[[str], None]
KeyT = TypeVar("KeyT", str, datetime)


@dataclass(slots=True)
class _Present:
    """The present period of an account, and what of its unrolled costs lies in it or later."""

    period: Period
    where: tzinfo
    begin: datetime
    end: datetime
    unrolled: int = 0


class Ledger:
    """Costs, and what accounts have spent, over views that it declares.

    Its sums are those of the views at every moment, while a cost moves from the ledger into the
    account as well. Only on a replica that hears of a later move before an earlier one, a cost
    counts twice until its watch brings both; it is never left out.
    """

    def __init__(self, mirror: Mirror, clock: Clock, *, replica: str = "0") -> None:
        """Declare the views, before the mirror starts.

        Args:
            mirror: keeps the views.
            clock: tells when this process started, and what counts as the last minute.
            replica: id of this process, different for every one that uses the store.
        """
        self.costs = mirror.view("ledger/", Cost)
        self.spending = mirror.view("spending/", Spending)
        self.budgets = mirror.view("budgets/", Budget)
        self._clock = clock
        self._prefix = f"{int(clock.now().timestamp() * 1_000_000):014x}-{replica}-"
        self._issued = 0
        self._unrolled: defaultdict[str, int] = defaultdict(int)
        # The unrolled costs of each account, by time, for when its period changes.
        self._times: defaultdict[str, defaultdict[datetime, int]] = defaultdict(
            lambda: defaultdict(int)
        )
        self._present: dict[str, _Present] = {}
        self._minutes = Minutes()
        self._told: dict[str, int] = {}
        self._listeners: list[Listener] = []
        self.costs.count(self._count)
        self.costs.subscribe(self._cost_changed)
        self.spending.subscribe(lambda change: self._tell(change.id))
        self.budgets.subscribe(self._budget_changed)

    def entry(self, cost: Cost) -> Write:
        """Return the operation that notes a cost, to be added to the transaction that it is of.

        Its id sorts after all earlier ones of the same ledger, and is unique over replicas.
        """
        self._issued += 1
        return self.costs.put(f"{self._prefix}{self._issued:010x}", cost)

    def budget(self, account: str) -> Budget | None:
        """Return what an account may spend; None when nothing was ever set."""
        return self.budgets.get(account)

    def accounts(self) -> set[str]:
        """Return the accounts that have a budget, or have spent something."""
        return {*self.budgets, *self.spending, *self._unrolled}

    def accounts_after(self, after: str, limit: int) -> list[str]:
        """Return accounts by name, those that sort after `after`, at most `limit`."""
        views = (self.budgets, self.spending)
        found = {entry.id for view in views for entry in view.page(after, limit)}
        # Costs that are not added up yet: of a second.
        found.update(nsmallest(limit, (name for name in self._unrolled if name > after)))
        return sorted(found)[:limit]

    def total(self, account: str) -> int:
        """Return what an account has spent since the fabric began, in micro-US-dollars."""
        spending = self.spending.get(account)
        rolled = 0 if spending is None else spending.total_micros
        return rolled + self._unrolled.get(account, 0)

    def spent(self, account: str, now: datetime) -> int:
        """Return what an account has spent in its budget's present period; of all time without one.

        After the time zone of a budget has changed, all of an earlier period that reaches into the
        present one counts, until that is over.
        """
        budget = self.budgets.get(account)
        if budget is None or budget.period is None:
            return self.total(account)
        present = self._present_of(account, budget.period, zone_of(budget), now)
        rolled = spent_since(self.spending.get(account), budget.period, present.begin)
        return rolled + present.unrolled

    def minute(self, swarm_id: str, now: datetime) -> int:
        """Return what a swarm has spent in this second and the 59 before, as far as seen here.

        It is for rates, not for accounts: this process knows nothing of before its start.
        """
        return self._minutes.spent(swarm_id, now)

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with each account whose total or budget changed, in the event loop.

        It must not wait or raise. That a new period began is not told.
        """
        self._listeners.append(listener)

    def _present_of(self, account: str, period: Period, where: tzinfo, now: datetime) -> _Present:
        present = self._present.get(account)
        if (
            present is None
            or (present.period, present.where) != (period, where)
            or not present.begin <= now < present.end
        ):
            begin, end = period_at(period, now, where)
            times = self._times.get(account)
            unrolled = sum(each for time, each in times.items() if time >= begin) if times else 0
            present = self._present[account] = _Present(period, where, begin, end, unrolled)
        return present

    def _count(self, old: Cost | None, new: Cost | None) -> None:
        if old is not None and old.charge:
            self._add(old, -old.micros)
        if new is not None and new.charge:
            self._add(new, new.micros)
            if old is None:
                self._minutes.add(new.swarm_id, new.time, new.micros, self._clock.now())

    def _add(self, cost: Cost, micros: int) -> None:
        for account in accounts_of(cost):
            _change(self._unrolled, account, micros)
            _change(self._times[account], cost.time, micros)
            if not self._times[account]:
                del self._times[account]
            present = self._present.get(account)
            if present is not None and cost.time >= present.begin:
                present.unrolled += micros

    def _cost_changed(self, change: Change[Cost]) -> None:
        for cost in (change.old, change.new):
            if cost is not None:
                for account in accounts_of(cost):
                    self._tell(account)

    def _budget_changed(self, change: Change[Budget]) -> None:
        if change.new is None:
            self._present.pop(change.id, None)
        self._tell(change.id, always=True)

    def _tell(self, account: str, *, always: bool = False) -> None:
        total = self.total(account)
        if always or self._told.get(account, 0) != total:
            _set(self._told, account, total)
            for listener in self._listeners:
                listener(account)


def zone_of(budget: Budget | None) -> tzinfo:
    """Return the time zone of a budget's periods; UTC without one, and for one unknown here."""
    try:
        return zone("" if budget is None else budget.time_zone)
    except ValueError:
        return zone("")


def _change(sums: defaultdict[KeyT, int], key: KeyT, micros: int) -> None:
    _set(sums, key, sums[key] + micros)


def _set(sums: dict[KeyT, int], key: KeyT, micros: int) -> None:
    if micros:
        sums[key] = micros
    else:
        sums.pop(key, None)
