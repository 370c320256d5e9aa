"""Budgets for tests, and what of them is reserved: read from the store, not from any view."""

import asyncio
from datetime import UTC, datetime

from infrafabric_server.coordinator.models import ClaimOutcome, Dispatch, Task, TaskSpec
from infrafabric_server.optimise.models import FABRIC, Budget, Cost, Period, Spending, swarm_account
from infrafabric_server.store.protocol import KeyValue, Store
from tests.harness.fabric import Fabric

DOLLAR = 1_000_000


def priced(task_id: str, micros: int | None) -> TaskSpec:
    """Return a task that may cost so much."""
    return TaskSpec(
        task_id=task_id, max_cost_micros=micros, create_time=datetime.now(UTC), position=0
    )


async def board(fabric: Fabric, *costs: int | None, dispatch: Dispatch = Dispatch.MANUAL) -> None:
    """Create tasks `t0`, `t1` and so on that may cost so much each."""
    specs = [(priced(f"t{n}", micros), dispatch) for n, micros in enumerate(costs)]
    await fabric.create(*specs)


async def claim(fabric: Fabric, task_id: str, swarm_id: str = "s") -> ClaimOutcome:
    """Claim a task outside a session."""
    return await fabric.coordinator.claim_task(swarm_id, task_id)


async def complete(fabric: Fabric, task_id: str, cost: int, swarm_id: str = "s") -> None:
    """Complete a task for what it cost."""
    attempt = fabric.task(task_id).attempt
    await fabric.coordinator.claims.complete(
        swarm_id, task_id, attempt, result_json="{}", cost_micros=cost
    )


async def limit(
    fabric: Fabric, account: str, micros: int | None, period: Period | None = None
) -> None:
    """Set what an account may spend."""
    budget = Budget(limit_micros=micros, period=period, update_time=fabric.clock.now())
    await fabric.mirror.commit([], [fabric.ledger.budgets.put(account, budget)])


async def limit_swarm(fabric: Fabric, swarm_id: str, micros: int | None) -> None:
    """Set what a swarm may spend."""
    await limit(fabric, swarm_account(swarm_id), micros)


async def stored(store: Store, prefix: str) -> list[KeyValue]:
    """Return all that is stored under a prefix."""
    return list((await store.range(prefix, limit=10_000)).kvs)


async def reserved(store: Store, swarm_id: str | None = None) -> int:
    """Return what live claims may still spend, of one swarm or of all."""
    tasks = [Task.model_validate_json(kv.value) for kv in await stored(store, "tasks/")]
    claims = (task.claim for task in tasks if task.claim is not None)
    return sum(c.left_micros for c in claims if swarm_id in (None, c.swarm_id))


async def spent(store: Store, swarm_id: str | None = None) -> int:
    """Return what was ever spent, by one swarm or by all."""
    account = FABRIC if swarm_id is None else swarm_account(swarm_id)
    rolled = await store.get(f"spending/{account}")
    total = 0 if rolled is None else Spending.model_validate_json(rolled.value).total_micros
    costs = [Cost.model_validate_json(kv.value) for kv in await stored(store, "ledger/")]
    fresh = (c.micros for c in costs if c.charge and swarm_id in (None, c.swarm_id))
    return total + sum(fresh)


async def most_reserved(store: Store, stop: asyncio.Event, swarm_id: str | None = None) -> int:
    """Return the most that was reserved and spent at any revision until `stop`."""
    most = 0
    while not stop.is_set():
        most = max(most, await reserved(store, swarm_id) + await spent(store, swarm_id))
        await asyncio.sleep(0)
    return max(most, await reserved(store, swarm_id) + await spent(store, swarm_id))
