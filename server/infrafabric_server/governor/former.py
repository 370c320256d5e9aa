"""How long accounts, limits and failure counts of deregistered swarms are kept."""

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

import structlog
from pydantic import JsonValue

from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.fleet.models import FormerSwarm
from infrafabric_server.governor.breaker.records import BreakerRecords
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.models import swarm_account
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import StoreClosed, StoreError, absent, present, unchanged
from infrafabric_server.store.view import AnyView, Write
from infrafabric_server.witness.outbox import Outbox

KEPT = timedelta(days=30)
"""How long the account and the counts of a swarm are kept after it was deregistered."""

LIMIT_KEPT = timedelta(days=366)
"""How long they are if it has a limit: longer than any period of one."""

PAUSE_SECONDS = 3600.0
"""Wait between two looks; what is forgotten was over at two in a row."""

# Names that are looked at in one turn of the event loop.
_TURN = 256
_SWARMS = swarm_account("")

_log = structlog.get_logger(__name__)


class Former:
    """Forgets the accounts and breakers of former swarms: the leader's work.

    A swarm that registers again before then finds its count of failures, its limit and what it
    has spent: it cannot shed them. An open breaker stays until a person closes it. A record is
    forgotten when it is overdue at two looks in a row, an hour apart: a system clock that is wrong
    for less than that does no harm.
    """

    def __init__(
        self,
        mirror: Mirror,
        fleet: Fleet,
        ledger: Ledger,
        breakers: BreakerRecords,
        outbox: Outbox,
        leadership: Leadership,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take what is known of swarms; `sleep` waits for seconds of the monotonic clock."""
        self._mirror = mirror
        self._fleet = fleet
        self._ledger = ledger
        self._breakers = breakers
        self._outbox = outbox
        self._leadership = leadership
        self._clock = clock
        self._sleep = sleep

    async def run(self) -> None:
        """Look again and again until cancelled; to be run while this process leads."""
        over: AbstractSet[str] = frozenset()
        while True:
            try:
                over = await self.look(over)
            except StoreClosed:
                raise
            except (FabricError, StoreError) as error:
                _log.warning("former_swarms_kept", error=str(error))
            await self._sleep(PAUSE_SECONDS)

    async def look(self, over_before: AbstractSet[str]) -> AbstractSet[str]:
        """Forget the swarms whose time was over before and is; return whose time is over.

        Swarms that an earlier release deregistered count as leaving now. Raises FabricError for a
        full outbox, and the store's errors.
        """
        accounts = [each for each in self._ledger.accounts() if each.startswith(_SWARMS)]
        named = {each.removeprefix(_SWARMS) for each in accounts}
        over: set[str] = set()
        for place, swarm_id in enumerate({*self._fleet.former, *self._breakers.breakers, *named}):
            if place % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            left = self._fleet.former.get(swarm_id)
            registered = swarm_id in self._fleet.swarms
            if registered and left is not None:
                await self._returned(swarm_id)
            elif not registered and left is None:
                await self._left(swarm_id)
            elif left is not None and self._is_over(swarm_id, left.leave_time):
                gone = swarm_id in over_before and await self._forget(swarm_id)
                if not gone:
                    over.add(swarm_id)
        return over

    def _is_over(self, swarm_id: str, left: datetime) -> bool:
        if self._breakers.of(swarm_id).open:
            return False
        budget = self._ledger.budget(swarm_account(swarm_id))
        limited = budget is not None and budget.limit_micros is not None
        return left + (LIMIT_KEPT if limited else KEPT) <= self._clock.now()

    async def _returned(self, swarm_id: str) -> None:
        known, former = present(self._fleet.swarms.key(swarm_id)), self._fleet.former
        await self._mirror.commit([*self._leadership.fence(), known], [former.delete(swarm_id)])

    async def _left(self, swarm_id: str) -> None:
        former, unknown = self._fleet.former, absent(self._fleet.swarms.key(swarm_id))
        now = FormerSwarm(leave_time=self._clock.now())
        await self._mirror.commit(
            [*self._leadership.fence(), unknown, absent(former.key(swarm_id))],
            [former.put(swarm_id, now)],
        )

    async def _forget(self, swarm_id: str) -> bool:
        """Forget a swarm; return whether nothing has changed that would keep it."""
        account = swarm_account(swarm_id)
        budget, total = self._ledger.budget(account), self._ledger.total(account)
        views: list[tuple[AnyView, str]] = [
            (self._fleet.former, swarm_id),
            (self._breakers.breakers, swarm_id),
            (self._ledger.budgets, account),
            (self._ledger.spending, account),
        ]
        compares = [absent(self._fleet.swarms.key(swarm_id))]
        writes: list[Write] = []
        for view, id_ in views:
            entry = view.entry(id_)
            compares.append(unchanged(view.key(id_), entry.mod_revision if entry else 0))
            if entry is not None:
                writes.append(view.delete(id_))
        details: dict[str, JsonValue] = {
            "limit_micros": None if budget is None else budget.limit_micros,
            "spent_micros": total,
        }
        self._outbox.check()
        fact = self._outbox.draft("governor", "swarm_forgotten", swarm_id=swarm_id, details=details)
        result = await self._mirror.commit([*self._leadership.fence(), *compares], [*writes, fact])
        return result.succeeded
