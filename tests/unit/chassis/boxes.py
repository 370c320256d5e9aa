"""A fabric with a chassis that works on its board, in this process: the sandbox is the caller's."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from grpc import aio
from prometheus_client import CollectorRegistry

from infrafabric.v1 import chassis_service_pb2
from infrafabric.v1.chassis_service_pb2_grpc import (
    ChassisServiceStub,
    add_ChassisServiceServicer_to_server,
)
from infrafabric_server.chassis.box import Box, Fetch
from infrafabric_server.chassis.chassis import Chassis
from infrafabric_server.chassis.contract import ServiceContract
from infrafabric_server.chassis.contracts import Contracts
from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.egress.addresses import Address
from infrafabric_server.chassis.egress.egress import Egress, Resolve
from infrafabric_server.chassis.egress.sending import Sender
from infrafabric_server.chassis.halts import Halts
from infrafabric_server.chassis.levels import Levels
from infrafabric_server.chassis.models import LoadedSwarm, ModuleKind
from infrafabric_server.chassis.modules import Modules
from infrafabric_server.chassis.outcomes import OutcomeLog
from infrafabric_server.chassis.recorder import Recorder
from infrafabric_server.chassis.reports import Reports
from infrafabric_server.chassis.runner import Runner
from infrafabric_server.chassis.runs import Runs
from infrafabric_server.chassis.sandbox.host import HostCalls
from infrafabric_server.chassis.sandbox.messages import Layer
from infrafabric_server.chassis.sandbox.outcome import Outcome, Usage
from infrafabric_server.chassis.scratch.scratch import Scratch
from infrafabric_server.chassis.service.servicer import ChassisServicer
from infrafabric_server.chassis.turns import Turns
from infrafabric_server.clock import Clock, SystemClock
from infrafabric_server.coordinator.models import Dispatch, RetryPolicy, Task, TaskSpec
from infrafabric_server.edge.grpc_server import GrpcServer, Service
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.witness.outbox import PREFIX, Outbox
from tests.harness.fabric import Fabric, running_fabric

AT_ONCE = RetryPolicy(max_attempts=3, initial_backoff=timedelta(0))
TTL = timedelta(minutes=10)

Act = Callable[[LoadedSwarm, bytes, HostCalls], Coroutine[Any, Any, Outcome]]
Sleep = Callable[[float], Coroutine[Any, Any, object]]


def outcome(result: bytes | None = b"{}", exit_code: int | None = 0) -> Outcome:
    """Return how a run ended that took nothing."""
    return Outcome(result, exit_code, "", "", Usage(0.0, 0.0, 0, 0, 0, 0), ())


async def does_nothing(_loaded: LoadedSwarm, _given: bytes, _host: HostCalls) -> Outcome:
    """Return at once."""
    return outcome()


class ActedBox:
    """A sandbox in which the test itself is the guest."""

    def __init__(self, act: Act = does_nothing) -> None:
        self._act = act

    async def layers(self) -> tuple[Layer, ...]:
        return ()

    async def compile(self, module: bytes) -> ModuleKind:
        del module
        return ModuleKind.CORE

    async def run(
        self, loaded: LoadedSwarm, fetch: Fetch, given: bytes, host: HostCalls
    ) -> Outcome:
        await fetch()
        return await self._act(loaded, given, host)


async def nowhere(_host: str) -> Sequence[Address]:
    """Find no host."""
    raise OSError("no such host")


@dataclass(frozen=True, slots=True)
class Boxed:
    """A running fabric with its chassis."""

    fabric: Fabric
    chassis: Chassis
    contracts: Contracts
    modules: Modules
    runner: Runner
    credentials: Credentials
    policies: PolicyBook
    running: asyncio.Task[None]

    async def load(self, swarm_id: str, module: bytes, **granted: Any) -> None:
        """Register a swarm and load it with a module."""
        await self.fabric.coordinator.register_swarm(swarm_id, frozenset({"any"}))
        kind = (await self.chassis.upload(module)).sha256
        await self.contracts.load(swarm_id, kind, ServiceContract(**granted))

    async def ask(self, swarm_id: str, task_id: str, given: object = None, **more: Any) -> None:
        """Create a task that names a swarm."""
        spec = TaskSpec(
            task_id=task_id,
            chassis_swarm_id=swarm_id,
            input_json=json.dumps(given or {}),
            retry=AT_ONCE,
            create_time=datetime.now(UTC),
            **more,
        )
        await self.fabric.create((spec, Dispatch.AUTO))

    async def reaches(self, task_id: str, holds: Callable[[Task], bool]) -> Task:
        """Return a task as soon as something is true of it."""
        moved = asyncio.Event()
        self.fabric.coordinator.tasks.subscribe(lambda _change: moved.set())
        async with asyncio.timeout(20):
            while True:
                task = self.fabric.coordinator.tasks.get(task_id)
                if task is not None and holds(task):
                    return task
                assert not self.running.done(), "the runner has ended"
                moved.clear()
                await moved.wait()

    async def ends(self, task_id: str) -> Task:
        """Return a task that has ended."""
        return await self.reaches(task_id, lambda task: task.state.ended)

    async def entries(self, operation: str, task_id: str) -> list[dict[str, Any]]:
        """Return the details of what is on record of a task."""
        found = await self.fabric.store.range(PREFIX)
        drafts = [json.loads(kv.value) for kv in found.kvs]
        return [
            each["details"]
            for each in drafts
            if (each["operation"], each.get("task_id", "")) == (operation, task_id)
        ]


@asynccontextmanager
async def running_chassis(
    make: Callable[[PolicyBook], Box],
    *,
    store: MemoryStore,
    resolve: Resolve = nowhere,
    clock: Clock | None = None,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[Boxed]:
    """Run a fabric with a chassis until the block ends, over a store."""
    clock, policies = clock or SystemClock(), PolicyBook()
    outbox, box = Outbox(clock, "test", ()), make(policies)
    async with running_fabric(store, clock=clock, outbox=outbox, policies=policies) as fabric:
        mirror, tasks = fabric.mirror, fabric.coordinator.tasks
        modules = Modules(store, mirror, clock, policies)
        contracts = Contracts(mirror, fabric.fleet, modules, outbox, clock)
        noted = OutcomeLog(fabric.reputations.outcomes, clock, Levels(policies))
        recorder = Recorder(mirror, outbox, fabric.breakers.counting, noted)
        credentials = Credentials(mirror, tasks, outbox, fabric.flood, clock, policies)
        scratch = Scratch(store, mirror, tasks)
        runs, turns = Runs(modules, box, policies, clock), Turns(policies)
        halts = Halts(fabric.breakers.gate, fabric.breakers.records)
        background = fabric.coordinator.background
        chassis = Chassis(
            *(modules, contracts, box, runs, turns, recorder, halts, background, policies, clock)
        )
        runner = Runner(
            *(tasks, contracts, fabric.coordinator.claims, runs, turns, recorder),
            *(Egress(credentials, resolve, Sender()), scratch, background, clock, TTL),
            sleep=sleep,
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(runner.run())
            yield Boxed(fabric, chassis, contracts, modules, runner, credentials, policies, running)
            running.cancel()


@asynccontextmanager
async def served(boxed: Boxed) -> AsyncIterator[ChassisServiceStub]:
    """Serve the calls of a chassis on a free port until the block ends."""
    fabric = boxed.fabric
    reports = Reports(fabric.fleet, fabric.reputations, Levels(PolicyBook()), fabric.clock)
    servicer = ChassisServicer(reports, boxed.chassis, boxed.credentials)
    name = chassis_service_pb2.DESCRIPTOR.services_by_name["ChassisService"].full_name
    service = Service(name, partial(add_ChassisServiceServicer_to_server, servicer))
    server = GrpcServer("127.0.0.1:0", [service], CollectorRegistry())
    port = await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield ChassisServiceStub(channel)
    finally:
        await server.stop(0)
