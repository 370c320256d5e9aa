"""What the tests of costs share: costs, a plain model of accounts, and a ledger with its roller."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from infrafabric_server.fleet.leadership import Leadership, SoleLeader
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.models import Cost
from infrafabric_server.optimise.reports import CostReports
from infrafabric_server.optimise.roller import Roller, Settle, settle_nothing
from infrafabric_server.optimise.rollup_store import Rollups
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Mirror
from tests.contract.clock import SteppedClock
from tests.unit.store.kit import running

START = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)


class MovedClock(SteppedClock):
    """A stepped clock whose time of day a test may set."""

    def __init__(self, now: datetime = START) -> None:
        super().__init__()
        self.time_of_day = now
        self._set_at = self._time

    def now(self) -> datetime:
        return self.time_of_day + timedelta(seconds=self._time - self._set_at)


def cost(swarm_id: str = "w", micros: int = 1, time: datetime = START, **fields: Any) -> Cost:
    """Return a cost of an operation `llm`, unless told otherwise."""
    return Cost(
        **{"swarm_id": swarm_id, "operation": "llm", "micros": micros, "time": time, **fields}
    )


@dataclass(frozen=True, slots=True)
class Books:
    """A process that keeps accounts: its views, and what adds up while it leads."""

    clock: SteppedClock
    store: MemoryStore
    mirror: Mirror
    ledger: Ledger
    rollups: Rollups
    roller: Roller
    reports: CostReports

    @classmethod
    def over(
        cls,
        store: MemoryStore,
        clock: SteppedClock,
        *,
        leadership: Leadership | None = None,
        settle: Settle = settle_nothing,
        replica: str = "0",
    ) -> "Books":
        """Connect everything; the views are not loaded yet."""
        mirror = Mirror(store, shared=leadership is not None)
        ledger = Ledger(mirror, clock, replica=replica)
        rollups = Rollups(store, ledger.costs)
        roller = Roller(
            mirror,
            ledger,
            rollups,
            leadership or SoleLeader(),
            clock,
            settle=settle,
            sleep=clock.sleep,
        )
        return cls(clock, store, mirror, ledger, rollups, roller, CostReports(rollups))

    async def charge(self, costs: Sequence[Cost]) -> None:
        """Write costs, in one transaction."""
        await self.mirror.commit([], [self.ledger.entry(each) for each in costs])

    async def roll(self) -> None:
        """Empty the ledger."""
        while await self.roller.roll():
            pass


@asynccontextmanager
async def books(clock: SteppedClock | None = None) -> AsyncIterator[Books]:
    """Open accounts over a store in memory."""
    store = await MemoryStore.open()
    opened = Books.over(store, clock or MovedClock())
    async with running(opened.mirror):
        yield opened
    await store.close()
