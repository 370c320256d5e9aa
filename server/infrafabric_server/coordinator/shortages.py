"""Who lacks money, and is looked at again when there may be some."""

from collections.abc import Callable
from datetime import datetime

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


class Shortages:
    """Tells which swarm may have money again that was refused some for want of it.

    A swarm's account may cover more when it or its claims change, when its period ends, and
    likewise the fabric's.
    """

    def __init__(self, ledger: Ledger, accounts: Accounts, timers: Timers, clock: Clock) -> None:
        self._ledger = ledger
        self._accounts = accounts
        self._timers = timers
        self._clock = clock
        self._renewals: dict[str, datetime] = {}
        # Who lacks the fabric's money, and how much of it.
        self._fabric: dict[str, int] = {}
        self._listener: Callable[[str], None] = lambda _swarm_id: None

    def connect(self, tasks: View[Task], listener: Callable[[str], None]) -> None:
        """Call `listener` with each swarm that may be given more, or less, than before.

        What ends its claims is seen in `tasks`; it is called after whoever listens there already.
        """
        self._listener = listener
        self._ledger.subscribe(self._account_changed)
        tasks.subscribe(self._task_changed)

    def note(self, swarm_id: str, lacking: BudgetFacts, amount: int) -> None:
        """Note that a swarm was refused an amount for want of it on an account."""
        if lacking.account == FABRIC:
            self._fabric[swarm_id] = min(amount, self._fabric.get(swarm_id, amount))
        budget = self._ledger.budget(lacking.account)
        if budget is None or budget.period is None:
            return
        now = self._clock.now()
        if self._renewals.get(lacking.account, now) > now:
            return
        end = period_at(budget.period, now, zone_of(budget))[1]
        self._renewals[lacking.account] = end
        self._timers.set(
            f"renewal:{lacking.account}",
            (end - now).total_seconds(),
            lambda: self._account_changed(lacking.account),
        )

    def _task_changed(self, change: Change[Task]) -> None:
        if change.old is not None and change.old.claim is not None:
            self._look()

    def _look(self) -> None:
        if self._fabric and self._accounts.facts(FABRIC).covers(min(self._fabric.values())):
            for swarm_id in list(self._fabric)[:_TURN]:
                del self._fabric[swarm_id]
                self._listener(swarm_id)
            if self._fabric:
                self._timers.set("fabric_money", _TURN_SECONDS, self._look)

    def _account_changed(self, account: str) -> None:
        self._renewals.pop(account, None)
        if account == FABRIC:
            self._look()
        elif self._ledger.budget(account) is not None:
            self._listener(account.removeprefix(_SWARMS))
