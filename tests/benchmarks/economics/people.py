"""The operator: a person who looks at open breakers."""

import asyncio
from dataclasses import dataclass
from random import Random

from infrafabric_server.governor.breaker.models import Breaker, BreakerCause
from infrafabric_server.optimise.models import swarm_account
from infrafabric_server.store.mirror import Change
from tests.benchmarks.economics.model import Scenario
from tests.benchmarks.economics.world import HOUR, MICROS, Swarm
from tests.harness.fabric import Fabric


def day_micros(scenario: Scenario, swarm: Swarm) -> int:
    """Return what a swarm may spend on a day, in micro-US-dollars."""
    return round(swarm.hourly_micros * 24 * scenario.money.day)


@dataclass(slots=True)
class Opening:
    """A breaker that opened, and when somebody closed it, in seconds; None for never."""

    swarm_id: str
    cause: BreakerCause
    begin: float
    end: float | None = None


class Operator:
    """Looks at each open breaker after a while, and closes it where nothing is wrong."""

    def __init__(
        self,
        fabric: Fabric,
        scenario: Scenario,
        seed: int,
        swarms: dict[str, Swarm],
        group: asyncio.TaskGroup,
    ) -> None:
        self._fabric = fabric
        self._scenario = scenario
        self._swarms = swarms
        self._group = group
        self._rng = Random(f"{seed}/operator")
        self._over = False
        self.openings: list[Opening] = []
        fabric.breakers.records.breakers.subscribe(self._changed)

    def go_home(self) -> None:
        """Close no more breakers."""
        self._over = True

    def _changed(self, change: Change[Breaker]) -> None:
        was_open = change.old is not None and change.old.open
        now = change.new
        if now is None or not now.open or was_open or now.cause is None:
            return
        opening = Opening(change.id, now.cause, self._fabric.clock.monotonic())
        self.openings.append(opening)
        swarm = self._swarms[change.id]
        mistaken = self._rng.random() < self._scenario.people.mistaken
        if swarm.honest or mistaken:
            self._group.create_task(self._close(swarm, opening))

    async def _close(self, swarm: Swarm, opening: Opening) -> None:
        await asyncio.sleep(self._scenario.people.answer_hours * HOUR)
        if self._over:
            return
        limit = self._new_limit(swarm)
        await self._fabric.breakers.reset(swarm.swarm_id, "Ann Lee", "it is honest", limit)
        opening.end = self._fabric.clock.monotonic()

    def _new_limit(self, swarm: Swarm) -> int | None:
        """Return another day's money where that of the first is used up, else what it had."""
        ledger, account = self._fabric.ledger, swarm_account(swarm.swarm_id)
        budget = ledger.budget(account)
        if budget is None or budget.limit_micros is None:
            return None
        left = budget.limit_micros - ledger.spent(account, self._fabric.clock.now())
        more = 0 if left >= MICROS else day_micros(self._scenario, swarm)
        return budget.limit_micros + more
