"""X7: hostile modules at a running server: stopped, on record, and nobody else notices."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infrafabric import Client
from infrafabric.v1.chassis_contract_pb2 import ResourceLimits, ServiceContract
from infrafabric.v1.chassis_execution_pb2 import ViolationKind as Wire
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from infrafabric_server.chassis.sandbox.outcome import ViolationKind
from tests.harness.server import ServerProcess
from tests.integration.guests import OBEDIENT
from tests.integration.hostile_modules import AT_ONCE, HOSTILE, Hostile

pytestmark = pytest.mark.embedded

# Modules have no clock here: it believes that it slept, and goes on.
_HARMLESS = {"a sleep of a year"}
# Here the contract grants no calls.
_DENIED = {
    "calls without an end",
    "a call that the host never answers",
    "a call from within an allocation",
}

# What the server may take in addition for all of them.
_GROWTH_BYTES = 50 << 20


@pytest.fixture
async def calls(shared_server: ServerProcess) -> AsyncIterator[Client]:
    """Return a client of the server."""
    async with Client(shared_server.grpc) as it:
        yield it


def memory(server: ServerProcess) -> int:
    """Return what a server has in memory, in bytes."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    [kibibytes] = re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    return int(kibibytes) << 10


def tight() -> ServiceContract:
    limits = ResourceLimits(max_memory_mb=16, max_output_bytes=100_000, max_api_calls_per_second=20)
    limits.max_execution_time.FromMilliseconds(300)
    return ServiceContract(limits=limits)


async def attack(client: Client, swarm_id: str, hostile: Hostile) -> None:
    """Load a hostile module, have it run, and see that it was stopped and recorded."""
    await client.swarms.register(swarm_id, ["wasm"])
    await client.chassis.load(swarm_id, hostile.module, tight())
    ended = await client.chassis.execute(swarm_id, "bad")
    if hostile.name in _HARMLESS:
        assert ended.succeeded
        return
    assert not ended.succeeded, hostile.name
    kinds = [
        Wire.Name(each.kind).removeprefix("VIOLATION_KIND_").lower() for each in ended.violations
    ]
    expected = ViolationKind.API_DENIED if hostile.name in _DENIED else hostile.ends
    if isinstance(expected, ViolationKind):
        assert kinds == [expected.value], hostile.name
    else:
        assert (kinds, expected in ended.reason) == ([], True), ended.reason
    assert (await client.chassis.violations(swarm_id)).total == len(kinds)


async def test_x7_hostile_modules_are_stopped_recorded_and_disturb_nobody(
    shared_server: ServerProcess, calls: Client
) -> None:
    await calls.swarms.register("calm", ["wasm"])
    await calls.chassis.load("calm", OBEDIENT)
    assert (await calls.chassis.execute("calm", "first", {"do": "e"})).succeeded
    before = memory(shared_server)

    async def go_on() -> None:
        while True:
            assert (await calls.chassis.execute("calm", "run", {"do": "e"})).succeeded

    hostile = {f"hostile-{n}": each for n, each in enumerate([*HOSTILE, *AT_ONCE])}
    async with asyncio.TaskGroup() as group:
        calm = group.create_task(go_on())
        async with asyncio.TaskGroup() as attacks:
            for swarm_id, each in hostile.items():
                attacks.create_task(attack(calls, swarm_id, each))
        calm.cancel()
    assert memory(shared_server) - before < _GROWTH_BYTES

    # The swarm of a hostile module works as soon as it is given another one.
    for swarm_id in hostile:
        await calls.chassis.load(swarm_id, OBEDIENT)
        assert (await calls.chassis.execute(swarm_id, "good", {"do": "e"})).succeeded, swarm_id

    recorded = QueryEntriesRequest(component="chassis", operation="task_executed")
    ran = {entry.swarm_id async for entry in calls.witness.query(recorded)}
    assert ran >= hostile.keys()
