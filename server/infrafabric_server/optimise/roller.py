"""Moves costs from the ledger into accounts and rollups: the leader's work."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date

import structlog

from infrafabric_server.clock import Clock
from infrafabric_server.fleet.leadership import Leadership, while_leading
from infrafabric_server.optimise.accounts import by_account, charged
from infrafabric_server.optimise.ledger import Ledger, zone_of
from infrafabric_server.optimise.models import Cost, Rollup
from infrafabric_server.optimise.rollup_store import Rollups, Stored
from infrafabric_server.optimise.rollups import name_at, put_together, row_of
from infrafabric_server.store.mirror import Change, Entry, Mirror
from infrafabric_server.store.protocol import (
    Compare,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
    unchanged,
)
from infrafabric_server.store.view import Write

# Costs in one transaction: with two compares and two operations for each, when all are of
# different swarms, a quarter of what a transaction takes.
BATCH = 500
# Hours in one transaction: a full one is about 100 kB, a request to etcd at most 8 MiB.
_HOURS = 8
# How often the ledger is emptied. What is in it counts all the same.
_PAUSE_SECONDS = 1.0

Settle = Callable[[Mapping[str, int]], tuple[Sequence[Compare], Sequence[Write]]]
"""Given what was charged by payer: what else the transaction compares and writes."""


def settle_nothing(_paid: Mapping[str, int]) -> tuple[Sequence[Compare], Sequence[Write]]:
    """Return nothing: nobody pays out of an allotment."""
    return (), ()


class Roller:
    """Empties the ledger while this process leads.

    A cost leaves the ledger in the transaction that adds it to its accounts and its hour, which
    compares that it is still there and that this process leads. So it is added once, whatever
    happens meanwhile, and whoever else believes to lead.
    """

    def __init__(
        self,
        mirror: Mirror,
        ledger: Ledger,
        rollups: Rollups,
        leadership: Leadership,
        clock: Clock,
        *,
        settle: Settle = settle_nothing,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take where costs are, where they go, and what tells whether to move them.

        `settle` gives back to payers what is spent now; `sleep` waits for seconds of `clock`.
        """
        self._mirror = mirror
        self._ledger = ledger
        self._rollups = rollups
        self._leadership = leadership
        self._clock = clock
        self._settle = settle
        self._sleep = sleep
        self._some = asyncio.Event()
        # As the last transaction left them; who else leads changes them, and this one fails.
        self._known: dict[str, Stored] = {}
        self._tidied: date | None = None
        self._log = structlog.get_logger(__name__)
        ledger.costs.subscribe(self._noticed)

    async def run(self) -> None:
        """Move costs while this process leads, until cancelled."""
        await while_leading(self._leadership, self._lead)

    async def roll(self) -> bool:
        """Move the first costs of the ledger, if there are any; return whether more are left.

        Raises StoreUnavailable when something has changed meanwhile, and the store's errors.
        """
        hours = self._batch()
        if not hours:
            return False
        docs = {name: self._known.get(name) or await self._rollups.get(name) for name in hours}
        # From here on nothing waits, so that what is compared is as new as it can be.
        compares, writes = self._moved([entry for group in hours.values() for entry in group])
        rolled: dict[str, Rollup] = {}
        for name, group in hours.items():
            costs = (row_of(entry.value) for entry in group)
            rolled[name] = put_together([*docs[name].rollup.rows, *costs])
            compares.append(docs[name].same())
            writes.append(docs[name].put(rolled[name]))
        revision = await self._commit(compares, writes)
        self._known = {name: Stored(name, rollup, revision) for name, rollup in rolled.items()}
        return bool(len(self._ledger.costs))

    async def tidy(self) -> None:
        """Add hours up to days, and remove days, that are older than they are kept.

        Raises as `roll` does.
        """
        now = self._clock.now()
        for day, hours in (await self._rollups.due(now)).items():
            docs = [await self._rollups.get(name) for name in (day, *hours)]
            writes: list[Write] = [stored.delete() for stored in docs]
            if hours:
                rows = [row for stored in docs for row in stored.rollup.rows]
                writes[0] = docs[0].put(put_together(rows))
            await self._commit([stored.same() for stored in docs], writes)

    async def _lead(self) -> None:
        self._known.clear()
        self._tidied = None
        while True:
            self._some.clear()
            await self._try()
            await self._sleep(_PAUSE_SECONDS)
            await self._some.wait()

    async def _try(self) -> None:
        try:
            while await self.roll():
                pass
            if self._tidied != (today := self._clock.now().date()):
                await self.tidy()
                self._tidied = today
        except (StoreUnavailable, StoreDenied, StoreFull) as error:
            self._some.set()
            self._log.warning("rolling_waits", error=str(error), waiting=len(self._ledger.costs))

    def _batch(self) -> dict[str, list[Entry[Cost]]]:
        """Return the first costs, by the id of the rollup that they belong to."""
        now = self._clock.now()
        hours: dict[str, list[Entry[Cost]]] = {}
        for entry in self._ledger.costs.page("", BATCH):
            name = name_at(entry.value.time, now)
            if name not in hours and len(hours) == _HOURS:
                break
            hours.setdefault(name, []).append(entry)
        return hours

    def _moved(self, batch: Sequence[Entry[Cost]]) -> tuple[list[Compare], list[Write]]:
        """Return what moves costs into their accounts."""
        ledger = self._ledger
        compares = [unchanged(entry.key, entry.mod_revision) for entry in batch]
        writes: list[Write] = [ledger.costs.delete(entry.id) for entry in batch]
        costs = [entry.value for entry in batch]
        for account, group in by_account(costs).items():
            known = ledger.spending.entry(account)
            spending = None if known is None else known.value
            compares.append(
                unchanged(ledger.spending.key(account), known.mod_revision if known else 0)
            )
            spending = charged(spending, group, zone_of(ledger.budget(account)), self._clock.now())
            writes.append(ledger.spending.put(account, spending))
        paid: Counter[str] = Counter()
        for cost in costs:
            if cost.charge and cost.payer:
                paid[cost.payer] += cost.micros
        more_compares, more_writes = self._settle(paid)
        return [*compares, *more_compares], [*writes, *more_writes]

    async def _commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int:
        if not self._leadership.leading:
            raise StoreUnavailable("this replica does not lead any more")
        result = await self._mirror.commit([*self._leadership.fence(), *compares], writes)
        if not result.succeeded:
            self._known.clear()
            await self._mirror.catch_up()
            raise StoreUnavailable("another replica leads by now, or something has changed")
        return result.revision

    def _noticed(self, change: Change[Cost]) -> None:
        if change.new is not None:
            self._some.set()
