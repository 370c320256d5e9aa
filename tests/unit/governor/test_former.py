"""G4, G6: what is held against a swarm outlasts its deregistration, and not for ever."""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from infrafabric_server.coordinator.build import Limits
from infrafabric_server.errors import FabricError, InvalidField, Reason
from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.fleet.models import AgentStatus, Status
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.governor.budget.ports import Spent
from infrafabric_server.governor.former import KEPT, LIMIT_KEPT, PAUSE_SECONDS, Former
from infrafabric_server.optimise.models import Period, Spending, swarm_account
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Op, StoreUnavailable
from infrafabric_server.witness.outbox import Outbox
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, new_task, running_fabric
from tests.unit.breaker.kit import OFTEN, fails
from tests.unit.coordinator.money import DOLLAR, limit, stored

HOUR = timedelta(seconds=PAUSE_SECONDS)


class JumpingClock(SteppedClock):
    """A clock whose time of day can be set wrong, while its monotonic time runs on."""

    wrong = timedelta()

    def now(self) -> datetime:
        return super().now() + self.wrong


@dataclass
class World:
    """A fabric with what forgets its former swarms."""

    fabric: Fabric
    clock: JumpingClock
    former: Former

    async def leaves(self, swarm_id: str, spent: int = 0) -> None:
        """Register a swarm, have it spend something, and deregister it."""
        await self.fabric.coordinator.register_swarm(swarm_id, frozenset())
        if spent:
            await self.fabric.coordinator.costs.track(Spent(swarm_id, "x", spent, "", 0))
            await self.roll(swarm_id, spent)
        await self.fabric.coordinator.registration.deregister(swarm_id)

    async def roll(self, swarm_id: str, total: int) -> None:
        """Add the costs of a swarm up, as the leader does."""
        ledger = self.fabric.ledger
        gone = [ledger.costs.delete(id_) for id_ in ledger.costs]
        put = ledger.spending.put(swarm_account(swarm_id), Spending(total_micros=total))
        await self.fabric.mirror.commit([], [*gone, put])

    async def passes(self, span: timedelta) -> None:
        """Let time pass, and look twice, an hour apart."""
        await self.clock.advance((span - HOUR).total_seconds())
        over = await self.former.look(set())
        await self.clock.advance(PAUSE_SECONDS)
        await self.former.look(over)

    async def known(self, swarm_id: str) -> set[str]:
        """Return the groups of keys that name a swarm."""
        prefixes = ("former", "breakers", "budgets", "spending")
        return {
            prefix
            for prefix in prefixes
            for kv in await stored(self.fabric.store, f"{prefix}/")
            if kv.key.removeprefix(f"{prefix}/") in (swarm_id, swarm_account(swarm_id))
        }


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Return a fabric whose leader looks when it is told."""
    clock = JumpingClock()
    store = await MemoryStore.open()
    async with running_fabric(store, clock=clock, limits=Limits(lease=10**9)) as fabric:
        outbox = Outbox(clock, "test", ())
        yield World(
            fabric,
            clock,
            Former(
                fabric.mirror,
                fabric.fleet,
                fabric.ledger,
                fabric.breakers.records,
                outbox,
                SoleLeader(),
                clock,
                sleep=clock.sleep,
            ),
        )
    await store.close()


async def test_g4_the_account_of_a_former_swarm_is_kept_for_30_days(world: World) -> None:
    await world.leaves("s", spent=5)
    await world.passes(KEPT - timedelta(seconds=1))
    assert await world.known("s") == {"former", "spending"}
    await world.passes(timedelta(hours=2))
    assert await world.known("s") == set()
    assert world.fabric.ledger.accounts() == set()
    entries = [kv for kv in await stored(world.fabric.store, "outbox/") if "swarm_forg" in kv.value]
    assert len(entries) == 1
    assert '"spent_micros":5' in entries[0].value


@pytest.mark.parametrize("period", [None, Period.MONTH])
async def test_g4_a_limit_and_what_was_spent_of_it_outlast_every_period(
    world: World, period: Period | None
) -> None:
    await world.leaves("s", spent=5)
    await limit(world.fabric, swarm_account("s"), DOLLAR, period)
    await world.passes(LIMIT_KEPT - timedelta(days=1))
    assert await world.known("s") == {"former", "budgets", "spending"}
    await world.fabric.coordinator.register_swarm("s", frozenset())
    assert world.fabric.ledger.total(swarm_account("s")) == 5
    await world.passes(timedelta(days=40))
    assert await world.known("s") == {"budgets", "spending"}, "it is no former one any more"
    await world.fabric.coordinator.registration.deregister("s")
    await world.passes(LIMIT_KEPT + timedelta(days=1))
    assert await world.known("s") == set()


async def test_g6_nobody_sheds_failures_or_an_open_breaker_by_registering_anew(
    world: World,
) -> None:
    for n in range(3):
        await world.fabric.coordinator.register_swarm("s", frozenset({"any"}))
        await world.fabric.create(new_task(f"t{n}", retry=OFTEN))
        await fails(world.fabric, f"t{n}")
        await world.fabric.coordinator.registration.deregister("s")
    assert world.fabric.breakers.records.of("s").cause is BreakerCause.FAILURES
    await world.passes(10 * LIMIT_KEPT)
    assert await world.known("s") == {"former", "breakers"}
    await world.fabric.breakers.reset("s", "Ann Lee", "it is gone")
    await world.passes(2 * HOUR)
    assert await world.known("s") == set()


async def test_g6_failures_of_a_former_swarm_are_kept_for_30_days(world: World) -> None:
    await world.fabric.coordinator.register_swarm("s", frozenset({"any"}))
    await world.fabric.create(new_task("t", retry=OFTEN))
    await fails(world.fabric, "t")
    await world.fabric.coordinator.registration.deregister("s")
    await world.passes(KEPT - HOUR)
    assert await world.known("s") == {"former", "breakers"}
    await world.passes(3 * HOUR)
    assert await world.known("s") == set()


async def test_g4_a_time_of_day_that_jumps_has_nothing_forgotten(world: World) -> None:
    await world.leaves("s", spent=5)
    world.clock.wrong = timedelta(days=1000)
    over = await world.former.look(set())
    assert over == {"s"}
    world.clock.wrong = timedelta()
    await world.clock.advance(PAUSE_SECONDS)
    over = await world.former.look(over)
    assert over == set()
    world.clock.wrong = -timedelta(days=1000)
    assert await world.former.look(over) == set()
    assert await world.known("s") == {"former", "spending"}
    # Who left in what was the future is remembered until then, and no less.
    world.clock.wrong = timedelta()
    await world.passes(KEPT)
    assert await world.known("s") == set()


async def test_g4_who_is_registered_again_is_not_forgotten_and_an_unnoted_swarm_leaves_now(
    world: World,
) -> None:
    await world.leaves("s", spent=5)
    ledger = world.fabric.ledger
    old = ledger.spending.put(swarm_account("old"), Spending(total_micros=7))
    await world.fabric.mirror.commit([], [old])
    await world.clock.advance((KEPT + HOUR).total_seconds())
    over = await world.former.look(set())
    assert over == {"s"}
    await world.fabric.coordinator.register_swarm("s", frozenset())
    assert await world.former.look(over) == set()
    assert await world.known("s") == {"spending"}
    assert await world.known("old") == {"former", "spending"}
    await world.passes(KEPT + HOUR)
    assert await world.known("old") == set()
    assert await world.known("s") == {"spending"}


async def test_g4_the_leader_looks_each_hour_and_goes_on_after_a_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.leaves("s", spent=5)
    look = world.former.look
    errors: list[Exception] = [
        StoreUnavailable("no answer"),
        FabricError(Reason.OUTBOX_FULL, "full"),
    ]

    async def poor(over: AbstractSet[str]) -> AbstractSet[str]:
        if errors:
            raise errors.pop()
        return await look(over)

    monkeypatch.setattr(world.former, "look", poor)
    running = asyncio.create_task(world.former.run())
    await world.clock.advance((KEPT - HOUR).total_seconds())
    assert await world.known("s") == {"former", "spending"}
    await world.clock.advance(3 * PAUSE_SECONDS)
    assert await world.known("s") == set()
    assert not errors
    running.cancel()
    await asyncio.wait([running])


async def test_g7_who_was_ever_a_swarm_is_no_person(world: World) -> None:
    await world.fabric.coordinator.register_swarm("s", frozenset())
    await world.fabric.breakers.trip("s", BreakerCause.MANUAL, "why")
    await world.leaves("quiet")
    fleet, ledger, now = world.fabric.fleet, world.fabric.ledger, world.clock.now()
    status = AgentStatus(swarm_id="x", status=Status.IDLE, status_time=now)
    writes: list[Op] = [
        fleet.statuses.put("shown", status),
        fleet.departed.put("totals", status),
        ledger.spending.put(swarm_account("spent"), Spending(total_micros=7)),
    ]
    await world.fabric.mirror.commit([], writes)
    await limit(world.fabric, swarm_account("limited"), DOLLAR)
    for approver in ("quiet", " quiet ", "shown", "totals", "spent", "limited"):
        with pytest.raises(InvalidField, match=f"{approver.strip()} is or was a swarm"):
            await world.fabric.breakers.reset("s", approver, "safe")
    assert world.fabric.breakers.records.of("s").open
