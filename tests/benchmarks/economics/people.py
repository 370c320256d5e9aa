"""The people who watch: they close breakers, and review what is said to be done."""

import asyncio
from random import Random

from infrafabric_server.governor.breaker.models import Breaker, BreakerCause
from infrafabric_server.optimise.models import swarm_account
from infrafabric_server.store.mirror import Change
from tests.benchmarks.economics.model import Scenario
from tests.benchmarks.economics.world import HOUR, MICROS, Kind, Swarm
from tests.harness.fabric import Fabric


def day_micros(scenario: Scenario, swarm: Swarm) -> int:
    """Return what a swarm may spend on a day, in micro-US-dollars."""
    return round(swarm.hourly_micros * 24 * scenario.money.day)


class Operator:
    """Looks at each open breaker after a while, and closes it where nothing is wrong.

    `opened` has each opening with its cause, `resets` is how many were closed.
    """

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
        self.opened: list[tuple[str, BreakerCause]] = []
        self.resets = 0
        self._over = False
        fabric.breakers.records.breakers.subscribe(self._changed)

    def go_home(self) -> None:
        """Close no more breakers."""
        self._over = True

    def _changed(self, change: Change[Breaker]) -> None:
        was_open = change.old is not None and change.old.open
        if change.new is None or not change.new.open or was_open or change.new.cause is None:
            return
        self.opened.append((change.id, change.new.cause))
        swarm = self._swarms[change.id]
        mistaken = self._rng.random() < self._scenario.people.mistaken
        if swarm.kind is Kind.HONEST or mistaken:
            self._group.create_task(self._close(swarm))

    async def _close(self, swarm: Swarm) -> None:
        await asyncio.sleep(self._scenario.people.answer_hours * HOUR)
        if self._over:
            return
        ledger, clock = self._fabric.ledger, self._fabric.clock
        account = swarm_account(swarm.swarm_id)
        budget = ledger.budget(account)
        limit = None
        if budget is not None and budget.limit_micros is not None:
            # One more day where the first one is used up.
            limit = budget.limit_micros
            if ledger.spent(account, clock.now()) + MICROS > limit:
                limit += day_micros(self._scenario, swarm)
        await self._fabric.breakers.reset(swarm.swarm_id, "Ann Lee", "it is honest", limit)
        self.resets += 1
