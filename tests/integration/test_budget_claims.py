"""G4: hundreds of claimers at once on one account, with what is reserved read from the store."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, closing
from itertools import cycle
from pathlib import Path

import pytest

from infrafabric import Client
from infrafabric.v1.governor_budget_pb2 import SetBudgetRequest
from infrafabric.v1.task_pb2 import CLAIM_REFUSAL_BUDGET, DISPATCH_MANUAL, Task
from tests.harness.cluster import Backing, Cluster
from tests.harness.server import ServerProcess
from tests.harness.setups import Setup

DOLLAR = 1_000_000
CLAIMS = 300
LIMIT = 40
SWARMS = 10

ReadTasks = Callable[[], Iterable[str]]


def in_file(path: Path) -> list[str]:
    """Return all tasks that are in the embedded store, as they are at one moment."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        found = database.execute("SELECT value FROM live WHERE key LIKE 'tasks/%'")
        return [value for (value,) in found]


def in_etcd(backing: Backing, prefix: str) -> list[str]:
    """Return all tasks that are in etcd, as they are at one revision."""
    found = backing.etcd.control("get", "--prefix", f"{prefix}/kv/tasks/", "--print-value-only")
    return [line for line in found.splitlines() if line]


async def most_reserved(read: ReadTasks, until: asyncio.Event) -> int:
    """Return the most that live claims had reserved together, at any moment that was looked at."""
    most, last = 0, False
    while not last:
        last = until.is_set()
        tasks = [json.loads(text) for text in await asyncio.to_thread(read)]
        claims = (task["claim"] for task in tasks if task.get("claim"))
        most = max(most, sum(claim["reserved_micros"] for claim in claims))
    return most


async def compete(clients: list[Client], read: ReadTasks, *, fabric: bool) -> None:
    """Have hundreds claim at once what a limit covers only some of, then look at what was won."""
    first = clients[0]
    swarms = [f"s{n}" for n in range(SWARMS if fabric else 1)]
    for swarm_id in swarms:
        await first.swarms.register(swarm_id, [], max_concurrent_tasks=64)
    account = SetBudgetRequest(fabric=True) if fabric else SetBudgetRequest(swarm_id=swarms[0])
    account.limit_micros = LIMIT * DOLLAR
    await first.budgets.limit(account)
    names = [f"t{n}" for n in range(CLAIMS)]
    for name in names:
        task = Task(task_id=name, dispatch=DISPATCH_MANUAL, max_cost_micros=DOLLAR)
        await first.tasks.create(task)
    over = asyncio.Event()
    watching = asyncio.create_task(most_reserved(read, over))
    claimers = zip(cycle(clients), cycle(swarms), names, strict=False)
    outcomes = await asyncio.gather(
        *(client.claims.claim(swarm_id, name) for client, swarm_id, name in claimers)
    )
    over.set()
    assert sum(outcome.claimed for outcome in outcomes) == LIMIT
    lost = [outcome for outcome in outcomes if not outcome.claimed]
    assert {outcome.refusal for outcome in lost} == {CLAIM_REFUSAL_BUDGET}
    name = "fabric" if fabric else f"swarm/{swarms[0]}"
    assert f"account {name} has" in lost[-1].refusal_detail
    assert "available: limit 40.00 USD, spent 0.00 USD, reserved" in lost[-1].refusal_detail
    assert await watching == LIMIT * DOLLAR
    report = await (first.budgets.of_fabric() if fabric else first.budgets.of_swarm(swarms[0]))
    assert report.reserved_micros == LIMIT * DOLLAR


@pytest.fixture
async def servers(
    setup: Setup, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[list[str], ReadTasks]]:
    """Return the addresses of one server, or of two replicas, and what reads their store."""
    if setup is Setup.EMBEDDED:
        async with ServerProcess(tmp_path) as server:
            path = server.data / "fabric.db"
            yield [server.grpc], lambda: in_file(path)
        return
    backing: Backing = request.getfixturevalue("backing")
    prefix = tmp_path.name
    async with Cluster(tmp_path, replicas=2, backing=backing, prefix=prefix) as cluster:
        addresses = [replica.grpc for replica in cluster.replicas]
        yield addresses, lambda: in_etcd(backing, prefix)


@pytest.mark.parametrize("fabric", [False, True], ids=["swarm", "fabric"])
async def test_g4_hundreds_of_claims_at_once_reserve_what_the_limit_covers_and_no_more(
    servers: tuple[list[str], ReadTasks], fabric: bool
) -> None:
    addresses, read = servers
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(address)) for address in addresses]
        await compete(clients, read, fabric=fabric)
