"""Who lacks money, and is looked at again when there may be some."""

from collections.abc import Callable
from datetime import datetime
from enum import Enum, auto
from math import inf

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.models import Task
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.budget.rules import BudgetFacts
from infrafabric_server.optimise.ledger import Ledger, zone_of
from infrafabric_server.optimise.models import FABRIC, swarm_account
from infrafabric_server.optimise.periods import period_at
from infrafabric_server.store.mirror import Change, View

# Swarms that are looked at together when the fabric has money again: at most a millisecond.
_TURN = 64
# Wait before the next ones are.
_TURN_SECONDS = 0.02

_SWARMS = swarm_account("")

# Whoever notes this lacks money for a task that no swarm can be paid for.
ANYONE = ""


class More(Enum):
    """What came of a change of an account for what a swarm may be given."""

    NOTHING = auto()
    SOME = auto()
    ENOUGH = auto()
    """There may be enough for what was refused."""


Listener = Callable[[str, More], None]


class Shortages:
    """Tells which swarm may have money again that was refused some for want of it.

    A swarm's account may cover more when it or its claims change, when its period ends, and
    likewise the fabric's. What a claim draws from its reservation makes it cover no more.
    """

    def __init__(self, ledger: Ledger, accounts: Accounts, timers: Timers, clock: Clock) -> None:
        self._ledger = ledger
        self._accounts = accounts
        self._timers = timers
        self._clock = clock
        self._renewals: dict[str, datetime] = {}
        # Who lacks the fabric's money, and how much of it; and at most the least of that.
        self._fabric: dict[str, int] = {}
        self._least = 0
        # The least that a swarm lacks its own money for, and what that was when last looked at.
        self._own: dict[str, int] = {}
        self._available: dict[str, float] = {}
        self._listener: Listener = lambda _swarm_id, _more: None

    def connect(self, tasks: View[Task], listener: Listener) -> None:
        """Call `listener` with each swarm that may be given more, or less, than before.

        What ends its claims is seen in `tasks`; it is called after whoever listens there already.
        """
        self._listener = listener
        self._ledger.subscribe(self._account_changed)
        tasks.subscribe(self._task_changed)

    def note(self, swarm_id: str, lacking: BudgetFacts, amount: int) -> None:
        """Note that a swarm was refused an amount for want of it on an account."""
        if lacking.account == FABRIC:
            self._least = min(amount, self._least) if self._fabric else amount
            self._fabric[swarm_id] = min(amount, self._fabric.get(swarm_id, amount))
        elif lacking.account == swarm_account(swarm_id):
            self._own[swarm_id] = min(amount, self._own.get(swarm_id, amount))
        if self._renewals.get(lacking.account, self._clock.now()) <= self._clock.now():
            self._await_renewal(lacking.account)

    def forget(self, swarm_id: str) -> None:
        """Forget a swarm that was deregistered."""
        self._fabric.pop(swarm_id, None)
        self._own.pop(swarm_id, None)
        self._available.pop(swarm_id, None)

    def _await_renewal(self, account: str) -> None:
        budget = self._ledger.budget(account)
        if budget is None or budget.period is None:
            return
        now = self._clock.now()
        end = period_at(budget.period, now, zone_of(budget))[1]
        self._renewals[account] = end
        self._timers.set(
            f"renewal:{account}",
            (end - now).total_seconds(),
            lambda: self._account_changed(account),
        )

    def _task_changed(self, change: Change[Task]) -> None:
        old = None if change.old is None else change.old.claim
        if old is None:
            return
        self._look()
        if old.swarm_id in self._own:
            self._look_at(old.swarm_id)

    def _look(self) -> None:
        if not self._fabric or not self._accounts.facts(FABRIC).covers(self._least):
            return
        for swarm_id in list(self._fabric)[:_TURN]:
            del self._fabric[swarm_id]
            self._listener(swarm_id, More.ENOUGH)
        if self._fabric:
            self._least = min(self._fabric.values())
            self._timers.set("fabric_money", _TURN_SECONDS, self._look)

    def _look_at(self, swarm_id: str) -> None:
        facts = self._accounts.facts(swarm_account(swarm_id))
        available = inf if facts.available_micros is None else facts.available_micros
        more = More.NOTHING
        if swarm_id in self._own and facts.covers(self._own[swarm_id]):
            del self._own[swarm_id]
            more = More.ENOUGH
        elif available > self._available.get(swarm_id, -inf):
            more = More.SOME
        self._available[swarm_id] = available
        self._listener(swarm_id, more)

    def _account_changed(self, account: str) -> None:
        """Look again at who lacks an account's money; its budget may have another period now.

        The end of the period may still be ahead, as the time of day and timers are two clocks.
        """
        self._renewals.pop(account, None)
        if account == FABRIC:
            self._look()
            lacks = bool(self._fabric)
        else:
            swarm_id = account.removeprefix(_SWARMS)
            if self._ledger.budget(account) is not None:
                self._look_at(swarm_id)
            else:
                self._available.pop(swarm_id, None)
            lacks = swarm_id in self._own
        if lacks and account not in self._renewals:
            self._await_renewal(account)
