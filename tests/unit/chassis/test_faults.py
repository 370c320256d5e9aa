"""X7: an error of the server in one run fails that run; all others go on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from infrafabric_server.chassis.contract import HTTP, KV, PROGRESS
from infrafabric_server.chassis.credentials.models import Endpoint
from infrafabric_server.chassis.egress.addresses import Address
from infrafabric_server.chassis.workers import Workers
from infrafabric_server.clock import SystemClock
from infrafabric_server.coordinator.models import TaskState
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Compare, KeyValue, Op, Put, RangeResult, TxnResult
from tests.integration.guests import ASKING, COUNTING, OBEDIENT, REPORTING
from tests.unit.chassis.boxes import Boxed, running_chassis

THERE = Endpoint(scheme="https", host="api.example.org", port=443, path="/", methods=("GET",))


class Wrong(MemoryStore):
    """A store and a resolver with an error in them, until it is mended."""

    wrong = True
    lost = False

    async def get(self, key: str) -> KeyValue | None:
        if key.startswith("scratch/") and self.wrong:
            raise KeyError("a bug")
        return await super().get(key)

    async def range(
        self, prefix: str, *, limit: int = 1000, after: str = "", revision: int = 0
    ) -> RangeResult:
        if prefix.startswith("module_chunks/") and self.lost:
            raise KeyError("a bug")
        return await super().range(prefix, limit=limit, after=after, revision=revision)

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        if self.wrong and any(isinstance(op, Put) and '"half"' in op.value for op in success):
            raise KeyError("a bug")
        return await super().txn(compares, success, failure)

    async def resolve(self, _host: str) -> Sequence[Address]:
        if self.wrong:
            raise KeyError("a bug")
        raise OSError("no such host")


@pytest.fixture
async def store() -> AsyncIterator[Wrong]:
    opened = await Wrong.open()
    yield opened
    await opened.close()


@pytest.fixture
async def boxed(store: Wrong, tmp_path: Path) -> AsyncIterator[Boxed]:
    """Return a chassis with real workers, whose resolver and store have errors in them."""
    workers: list[Workers] = []

    def make(policies: PolicyBook) -> Workers:
        workers.append(Workers.of(tmp_path / "modules", policies, SystemClock()))
        return workers[0]

    async with running_chassis(make, store=store, resolve=store.resolve) as running:
        yield running
    # It ends them all when it is called off.
    resting = asyncio.create_task(workers[0].rest())
    await asyncio.sleep(0)
    resting.cancel()
    await asyncio.wait((resting,))


CALLS = [
    (HTTP, ASKING, {"method": "GET", "url": THERE.url}),
    (KV, COUNTING, {"do": "e"}),
    (PROGRESS, REPORTING, {}),
]


@pytest.mark.parametrize(("call", "module", "given"), CALLS)
async def test_x7_an_error_in_a_host_call_fails_the_run_and_nothing_else(
    boxed: Boxed, store: Wrong, call: str, module: bytes, given: dict[str, Any]
) -> None:
    granted = {"allowed_calls": {call}, "endpoints": (THERE,) if call == HTTP else ()}
    await boxed.load("bad", module, **granted)
    await boxed.load("good", OBEDIENT)
    with capture_logs() as logged:
        await boxed.ask("bad", "fails", given)
        failed = await boxed.ends("fails")
    assert [each["event"] for each in logged].count("host_call_failed") == 3
    assert (failed.state, failed.failures) == (TaskState.FAILED, 3)
    recorded = await boxed.entries("task_executed", "fails")
    assert [each["succeeded"] for each in recorded] == [False] * 3
    for each in recorded:
        assert f"the server has an error in its call {call} (KeyError)" in each["reason"]
        assert each["api_calls"] == 1
    store.wrong = False
    for swarm_id in ("bad", "good"):
        await boxed.ask(swarm_id, f"{swarm_id}-next", given)
        assert (await boxed.ends(f"{swarm_id}-next")).state is TaskState.COMPLETED
        assert (await boxed.chassis.execute_task(swarm_id, "r", '{"do":"e"}')).succeeded


async def test_x7_an_error_before_the_guest_begins_is_answered_and_recorded(
    boxed: Boxed, store: Wrong, tmp_path: Path
) -> None:
    await boxed.load("s", OBEDIENT)
    for compiled in (tmp_path / "modules").iterdir():
        compiled.unlink()
    store.lost = True
    with capture_logs() as logged:
        ended = await boxed.chassis.execute_task("s", "r", "{}")
    assert "run_failed" in [each["event"] for each in logged]
    assert ended.reason.startswith("the server has an error in this run (KeyError)")
    assert [each["succeeded"] for each in await boxed.entries("task_executed", "r")] == [False]
    store.lost = False
    await boxed.ask("s", "next", {"do": "e"})
    assert (await boxed.ends("next")).state is TaskState.COMPLETED
