"""W1, G6: each run is one transaction, whoever records at once; what failed counts."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

import pytest

from infrafabric_server.chassis.contract import ServiceContract
from infrafabric_server.chassis.levels import Levels
from infrafabric_server.chassis.models import (
    KEPT_VIOLATIONS,
    Execution,
    LoadedSwarm,
    ModuleKind,
    Violation,
    ViolationKind,
)
from infrafabric_server.chassis.outcomes import OutcomeLog
from infrafabric_server.chassis.recorder import Recorder, Run
from infrafabric_server.chassis.reputation import Verdict
from infrafabric_server.chassis.standing import Outcome
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Mirror, View
from infrafabric_server.witness.outbox import PREFIX, Outbox
from tests.contract.clock import SteppedClock
from tests.unit.store.kit import running


class Server:
    """What records runs at one server."""

    def __init__(self, store: MemoryStore, clock: SteppedClock, name: str) -> None:
        self.mirror = Mirror(store, shared=True)
        policies, outbox = PolicyBook(), Outbox(clock, name, ())
        fleet = Fleet(self.mirror)
        ledger = Ledger(self.mirror, clock, replica=name)
        self.breakers = Breakers.over(self.mirror, fleet, ledger, outbox, clock, policies)
        self.outcomes: View[Outcome] = self.mirror.view("outcomes/", Outcome)
        noting = OutcomeLog(self.outcomes, clock, Levels(policies))
        self.recorder = Recorder(self.mirror, outbox, self.breakers.counting, noting)


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    opened = await MemoryStore.open()
    yield opened
    await opened.close()


@pytest.fixture
async def servers(store: MemoryStore) -> AsyncIterator[list[Server]]:
    clock = SteppedClock()
    async with AsyncExitStack() as stack:
        found = [Server(store, clock, name) for name in ("one", "other")]
        for server in found:
            await stack.enter_async_context(running(server.mirror))
        yield found


def run(task_id: str, begun: datetime, *kinds: ViolationKind, succeeded: bool = False) -> Run:
    loaded = LoadedSwarm(
        swarm_id="s",
        module_sha256="0" * 64,
        size=1,
        kind=ModuleKind.CORE,
        contract=ServiceContract(version="7"),
        load_time=begun,
    )
    violations = tuple(
        Violation(kind=kind, limit=10, observed=11, task_id=task_id, time=begun) for kind in kinds
    )
    return Run(loaded, task_id, 0, begun, Execution(succeeded=succeeded, violations=violations))


async def entries(store: MemoryStore) -> list[dict[str, Any]]:
    return [json.loads(kv.value) for kv in (await store.range(PREFIX)).kvs]


async def test_w1_x2_runs_that_are_recorded_at_once_are_all_recorded(
    store: MemoryStore, servers: list[Server]
) -> None:
    begun = SteppedClock().now()
    runs = [run(f"t{n}", begun, ViolationKind.OUTPUT, ViolationKind.CPU) for n in range(12)]
    async with asyncio.TaskGroup() as group:
        for n, each in enumerate(runs):
            group.create_task(servers[n % 2].recorder.record(each))
    told = [each["operation"] for each in await entries(store)]
    assert (told.count("task_executed"), told.count("limit_violated")) == (12, 24)
    for server in servers:
        await server.mirror.catch_up()
        ring = server.recorder.latest("s")
        assert (ring.total, len(ring.latest)) == (24, 24)
        assert {each.task_id for each in ring.latest} == {each.task_id for each in runs}


async def test_x2_only_the_latest_violations_are_at_hand(servers: list[Server]) -> None:
    recorder = servers[0].recorder
    begun = SteppedClock().now()
    for n in range(KEPT_VIOLATIONS + 5):
        await recorder.record(run(f"t{n}", begun, ViolationKind.OUTPUT))
    ring = recorder.latest("s")
    assert (ring.total, len(ring.latest)) == (KEPT_VIOLATIONS + 5, KEPT_VIOLATIONS)
    assert (ring.latest[0].task_id, ring.latest[-1].task_id) == ("t5", f"t{KEPT_VIOLATIONS + 4}")
    await recorder.forget("s")
    assert recorder.latest("s").total == 0


async def test_g6_x5_a_run_that_stands_alone_counts_for_breaker_and_service_level(
    store: MemoryStore, servers: list[Server]
) -> None:
    server = servers[0]
    begun = SteppedClock().now() - timedelta(seconds=1)
    await server.recorder.count(run("good", begun, succeeded=True))
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(server.recorder.count(run(f"t{n}", begun)))
    assert server.breakers.gate.closed("s") is not None
    verdicts = [each.verdict for _, each in server.outcomes.items()]
    assert sorted(verdicts) == sorted([Verdict.MET, *[Verdict.FAILED] * 3])
    assert "breaker_opened" in {each["operation"] for each in await entries(store)}


async def test_a_run_that_was_cut_off_counts_nothing(
    store: MemoryStore, servers: list[Server]
) -> None:
    recorder = servers[0].recorder
    begun = SteppedClock().now()
    for n in range(5):
        await recorder.cut(run(f"t{n}", begun), "the call was cancelled")
    assert servers[0].breakers.gate.closed("s") is None
    assert not len(servers[0].outcomes)
    told = await entries(store)
    assert {each["operation"] for each in told} == {"execution_cut"}
    assert {each["details"]["reason"] for each in told} == {"the call was cancelled"}
