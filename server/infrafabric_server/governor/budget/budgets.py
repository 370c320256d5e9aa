"""Budgets: what is charged, what accounts may spend, and how they stand."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.breaker.records import BreakerRecords
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.budget.ports import Spent, TaskAccount, TaskMoney
from infrafabric_server.governor.budget.rules import BudgetFacts, BudgetState, state
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.optimise.ledger import Ledger, zone_of
from infrafabric_server.optimise.models import FABRIC, Budget, Period, swarm_account
from infrafabric_server.optimise.periods import period_at, zone
from infrafabric_server.store.mirror import Mirror, View
from infrafabric_server.store.protocol import present, unchanged
from infrafabric_server.witness.outbox import Outbox

# Setting a budget is given up after losing this many races to other changes of it.
_MAX_TRIES = 32

_SWARMS = swarm_account("")


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """How an account stands. Its name is that of `facts`; times are set with a period only."""

    facts: BudgetFacts
    total_micros: int
    soft_share: float
    state: BudgetState
    period: Period | None = None
    time_zone: str = ""
    period_start: datetime | None = None
    renew_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tracked:
    """The answer to a cost: the swarm's account then, and what the attempt may still spend.

    `breaker_open` tells that the swarm has to stop.
    """

    budget: BudgetReport
    left_micros: int
    breaker_open: bool


@dataclass(frozen=True, slots=True)
class Terms:
    """What an account may spend: a limit of None is none; see Budget."""

    limit_micros: int | None
    period: Period | None = None
    time_zone: str = ""
    soft_share: float | None = None


class Budgets:
    """Use cases about the accounts of swarms, tasks and the whole fabric."""

    def __init__(
        self,
        mirror: Mirror,
        ledger: Ledger,
        accounts: Accounts,
        tasks: TaskMoney,
        breakers: BreakerRecords,
        swarms: View[SwarmProfile],
        policy: PolicyBook,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._mirror = mirror
        self._ledger = ledger
        self._accounts = accounts
        self._tasks = tasks
        self._breakers = breakers
        self._swarms = swarms
        self._policy = policy
        self._outbox = outbox
        self._clock = clock

    async def track_cost(self, spent: Spent, request_id: str = "") -> Tracked:
        """Charge a cost to a swarm, and with a task to the reservation of its claim.

        Args:
            spent: the cost, 1 to 10^12 micro-US-dollars.
            request_id: id of the call; a repeat within 24 hours charges nothing. "" for none.

        Returns:
            What is left.

        Raises:
            FabricError: as TaskMoney.track.
        """
        left = await self._tasks.track(spent, request_id)
        stopped = self._breakers.in_force(spent.swarm_id) is not None
        return Tracked(self.account(swarm_account(spent.swarm_id)), left, stopped)

    async def set_limit(self, account: str, terms: Terms) -> BudgetReport:
        """Set what a swarm or the fabric may spend; what was spent stays.

        Args:
            account: `swarm/<id>` or `fabric`.
            terms: the limit and how it is renewed.

        Returns:
            The account afterwards.

        Raises:
            FabricError: SWARM_NOT_FOUND, INVALID_FIELD for an unknown time zone, CONTENTION.
        """
        _check_zone(terms.time_zone)
        view = self._ledger.budgets
        swarm_id = "" if account == FABRIC else account.removeprefix(_SWARMS)
        # What looks like a repeat may have been changed by another replica just now.
        await self._mirror.catch_up()
        for _ in range(_MAX_TRIES):
            if swarm_id and swarm_id not in self._swarms:
                raise _unknown(swarm_id)
            entry = view.entry(account)
            budget = self._budget(terms)
            if entry is not None and _terms_of(entry.value) == _terms_of(budget):
                return self.account(account)
            compares = [unchanged(view.key(account), 0 if entry is None else entry.mod_revision)]
            if swarm_id:
                compares.append(present(self._swarms.key(swarm_id)))
            self._outbox.check()
            details = _terms_of(budget) | {"account": account}
            fact = self._outbox.draft("governor", "budget_set", swarm_id=swarm_id, details=details)
            result = await self._mirror.commit(compares, [view.put(account, budget), fact])
            if result.succeeded:
                return self.account(account)
            await self._mirror.caught_up(result.revision)
        raise FabricError(
            Reason.CONTENTION,
            f"the budget of {account} changes too fast; try again",
            retry_after=0.1,
        )

    async def limit_task(self, task_id: str, limit_micros: int | None) -> BudgetReport:
        """Set what a task may cost over all its attempts. Raises TASK_NOT_FOUND, TASK_ENDED."""
        return self._of_task(await self._tasks.limit_task(task_id, limit_micros))

    def swarm(self, swarm_id: str) -> BudgetReport:
        """Return the account of a swarm that is registered or has one. Raises SWARM_NOT_FOUND."""
        account = swarm_account(swarm_id)
        known = swarm_id in self._swarms or account in self._ledger.budgets
        if not known and not self._ledger.total(account):
            raise _unknown(swarm_id)
        return self.account(account)

    async def task(self, task_id: str) -> BudgetReport:
        """Return the account of a task. Raises TASK_NOT_FOUND."""
        return self._of_task(await self._tasks.account(task_id))

    def page(self, after: str, limit: int) -> list[BudgetReport]:
        """Return accounts with a limit or a cost: the fabric's, then swarms' by id.

        They begin after the account `after`; "" is the beginning. At most `limit` are returned.
        """
        found = set(self._ledger.accounts_after(after, limit))
        if after < FABRIC:
            found.add(FABRIC)
        return [self.account(name) for name in sorted(found)[:limit]]

    def account(self, account: str) -> BudgetReport:
        """Return how the account of a swarm or of the fabric stands."""
        budget = self._ledger.budget(account)
        facts = self._accounts.facts(account)
        share = self._soft_share(budget)
        start, end = None, None
        if budget is not None and budget.period is not None:
            start, end = period_at(budget.period, self._clock.now(), zone_of(budget))
        return BudgetReport(
            facts,
            self._ledger.total(account),
            share,
            state(facts, share),
            None if budget is None else budget.period,
            "" if budget is None else budget.time_zone,
            start,
            end,
        )

    def _budget(self, terms: Terms) -> Budget:
        return Budget(
            limit_micros=terms.limit_micros,
            period=terms.period,
            time_zone=terms.time_zone or "UTC",
            soft_share=terms.soft_share,
            update_time=self._clock.now(),
        )

    def _of_task(self, task: TaskAccount) -> BudgetReport:
        facts = BudgetFacts(
            f"task/{task.task_id}", task.limit_micros, task.spent_micros, task.reserved_micros
        )
        share = self._soft_share(None)
        return BudgetReport(facts, task.spent_micros, share, state(facts, share))

    def _soft_share(self, budget: Budget | None) -> float:
        if budget is not None and budget.soft_share is not None:
            return budget.soft_share
        return self._policy.current.policy.budgets.soft_share


def _terms_of(budget: Budget) -> dict[str, Any]:
    return budget.model_dump(mode="json", exclude={"update_time"})


def _check_zone(name: str) -> None:
    try:
        zone(name)
    except ValueError as error:
        raise InvalidField(FieldViolation("time_zone", str(error))) from error


def _unknown(swarm_id: str) -> FabricError:
    return FabricError(Reason.SWARM_NOT_FOUND, f"no swarm has the id {swarm_id}")
