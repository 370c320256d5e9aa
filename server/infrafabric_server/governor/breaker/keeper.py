"""Opens breakers for what swarms have spent; one replica does it, the one that leads."""

import asyncio
from datetime import timedelta

import structlog

from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.governor.breaker import rules
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.governor.money import usd
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.models import swarm_account
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import StoreClosed, StoreError, unchanged

# Wait before a breaker that could not be opened is tried again.
_RETRY_SECONDS = 1.0
# After a reset, what was spent before it still counts in the last minute.
_MINUTE = timedelta(minutes=1)

_ACCOUNT = swarm_account("")

_log = structlog.get_logger(__name__)


class Keeper:
    """Follows the ledger: opens a breaker when a budget is spent, or too much in a minute.

    What it decides is idempotent: it looks at every account again whenever it begins to lead.
    """

    def __init__(
        self,
        mirror: Mirror,
        fleet: Fleet,
        ledger: Ledger,
        breakers: Breakers,
        leadership: Leadership,
        clock: Clock,
        book: PolicyBook,
    ) -> None:
        self._mirror = mirror
        self._fleet = fleet
        self._ledger = ledger
        self._breakers = breakers
        self._leadership = leadership
        self._clock = clock
        self._book = book
        self._changed = asyncio.Event()
        self._waiting: set[str] = set()
        self._running = False
        ledger.subscribe(self._note)
        fleet.swarms.subscribe(lambda change: self._note(swarm_account(change.id)))

    async def run(self) -> None:
        """Look at every account, then at those that change, until cancelled; while it leads."""
        self._running = True
        try:
            for swarm_id in list(self._fleet.swarms):
                self._note(swarm_account(swarm_id))
            while True:
                await self._changed.wait()
                self._changed.clear()
                waiting, self._waiting = self._waiting, set()
                for swarm_id in waiting:
                    await self._look(swarm_id)
        finally:
            self._running = False
            self._waiting.clear()

    def _note(self, account: str) -> None:
        if self._running and account.startswith(_ACCOUNT):
            self._waiting.add(account.removeprefix(_ACCOUNT))
            self._changed.set()

    async def _look(self, swarm_id: str) -> None:
        try:
            if self._reason(swarm_id) is None:
                return
            # A replica may see a cost twice while it is moved: not once it has caught up.
            await self._mirror.catch_up()
            reason = self._reason(swarm_id)
            if reason is None:
                return
            budgets, account = self._ledger.budgets, swarm_account(swarm_id)
            entry = budgets.entry(account)
            seen = 0 if entry is None else entry.mod_revision
            same = unchanged(budgets.key(account), seen)
            await self._breakers.trip(swarm_id, *reason, same, *self._leadership.fence())
        except StoreClosed:
            raise
        except (FabricError, StoreError) as error:
            _log.warning("breaker_not_opened", swarm_id=swarm_id, error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
            self._note(swarm_account(swarm_id))

    def _reason(self, swarm_id: str) -> tuple[BreakerCause, str] | None:
        breaker = self._breakers.records.of(swarm_id)
        if breaker.open or swarm_id not in self._fleet.swarms:
            return None
        account, now = swarm_account(swarm_id), self._clock.now()
        budget = self._ledger.budget(account)
        limit = None if budget is None else budget.limit_micros
        spent = rules.exhausted(limit, self._ledger.spent(account, now))
        if spent:
            return BreakerCause.BUDGET, spent
        most = self._book.current.policy.breaker_for(swarm_id).max_cost_per_minute_micros
        if most is None or (breaker.reset_time is not None and now - breaker.reset_time < _MINUTE):
            return None
        rate = self._ledger.minute(swarm_id, now)
        if rate <= most:
            return None
        return BreakerCause.COST_RATE, f"{usd(rate)} in a minute, more than {usd(most)} open it"
