"""G4, C11: a call about money that is cancelled on its way is decided to its end all the same."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest

from infrafabric.v1 import governor_budget_pb2 as pb
from infrafabric_server.edge.calls import Context
from infrafabric_server.governor.budget.budgets import Budgets
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.service.budgets import BudgetCalls
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Compare, Op, TxnResult
from infrafabric_server.witness.outbox import Outbox
from tests.harness.fabric import Fabric, running_fabric
from tests.unit.coordinator.money import board, claim, spent

# No handler looks at it.
CONTEXT = cast(Context, None)


class SlowStore(MemoryStore):
    """A store that takes no transaction, while it is told so, until it is told otherwise."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reached = asyncio.Event()
        self.passing = asyncio.Event()
        self.passing.set()

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        self.reached.set()
        await self.passing.wait()
        return await super().txn(compares, success, failure)


@dataclass(frozen=True, slots=True)
class World:
    """The calls about money over a fabric with a swarm `s` that works on `t0`."""

    store: SlowStore
    fabric: Fabric
    calls: BudgetCalls

    async def cancelled(self, call: Callable[[], Awaitable[object]]) -> None:
        """Make a call, cancel it when its transaction is on its way, and let that get there."""
        self.store.passing.clear()
        self.store.reached.clear()
        under_way = asyncio.ensure_future(call())
        await self.store.reached.wait()
        under_way.cancel()
        await asyncio.wait([under_way])
        assert under_way.cancelled()
        self.store.passing.set()
        await self.fabric.settled()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Return a fabric whose store can be held up."""
    store = await SlowStore.open()
    async with running_fabric(store) as fabric:
        outbox = Outbox(fabric.clock, "budgets", ())
        budgets = Budgets(
            fabric.mirror,
            fabric.ledger,
            fabric.parts.accounts,
            fabric.coordinator.costs,
            fabric.breakers.records,
            fabric.fleet.swarms,
            PolicyBook(),
            outbox,
            fabric.clock,
        )
        served = {"budgets": budgets, "finish": fabric.coordinator.background.finish}
        await fabric.coordinator.register_swarm("s")
        await board(fabric, 1000)
        assert (await claim(fabric, "t0")).claimed
        yield World(store, fabric, type("Calls", (BudgetCalls,), served)())
    await store.close()


async def test_g4_a_cost_whose_call_is_cancelled_is_charged_once(world: World) -> None:
    cost = pb.TrackCostRequest(
        swarm_id="s", operation="x", cost_micros=7, task_id="t0", attempt=1, request_id="one"
    )
    await world.cancelled(lambda: world.calls.TrackCost(cost, CONTEXT))
    held = world.fabric.task("t0").claim
    assert held is not None
    assert (held.drawn_micros, await spent(world.store, "s")) == (7, 7)
    again = await world.calls.TrackCost(cost, CONTEXT)
    assert (again.reservation_left_micros, await spent(world.store, "s")) == (993, 7)


@pytest.mark.parametrize(
    "account",
    [{"swarm_id": "s"}, {"fabric": True}, {"task_id": "t0"}],
    ids=["swarm", "fabric", "task"],
)
async def test_g5_a_limit_whose_call_is_cancelled_is_set(
    world: World, account: dict[str, Any]
) -> None:
    limit = pb.SetBudgetRequest(limit_micros=5000, **account)
    await world.cancelled(lambda: world.calls.SetBudget(limit, CONTEXT))
    before = await world.store.revision()
    answer = await world.calls.SetBudget(limit, CONTEXT)
    assert answer.budget.limit_micros == 5000
    assert await world.store.revision() == before, "it was there already"
