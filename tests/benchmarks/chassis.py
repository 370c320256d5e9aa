"""The chassis: the sandbox by itself, then a server that runs modules, hostile ones among them."""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import uvloop

from infrafabric import Client
from infrafabric.v1.chassis_contract_pb2 import ResourceLimits, ServiceContract
from tests.benchmarks.controls import Echo
from tests.benchmarks.measuring import Latency, Report, crowd, resident_kib, timed
from tests.benchmarks.sandbox import sandbox
from tests.harness.server import ServerProcess
from tests.harness.wat import nested
from tests.integration.guests import OBEDIENT
from tests.integration.hostile_modules import AT_ONCE, HOSTILE

_SWARMS = 8
# In flight for each swarm: one runs, the others wait for their turn.
_CALLERS = 4
_ROUNDS = 4
# Optimising it takes all the time of a processor that compiling may take.
_BOMB = nested(30_000)
# With more its breaker would open, and it would be left alone.
_ATTACKS = 2


class _Fabric:
    """A server, a client, and swarms that are loaded with modules."""

    def __init__(self, server: ServerProcess, client: Client, report: Report) -> None:
        self.server = server
        self.report = report
        self._client = client
        self._numbers = itertools.count()

    async def swarm(self, module: bytes | str, contract: ServiceContract) -> tuple[str, str]:
        """Load a new swarm; return its id and the digest of its module."""
        swarm_id = f"swarm-{next(self._numbers)}"
        await self._client.swarms.register(swarm_id, ["wasm"])
        loaded = await self._client.chassis.load(swarm_id, module, contract)
        return swarm_id, loaded.module_sha256

    async def leave(self, swarm_id: str) -> None:
        """Take the module from a swarm."""
        await self._client.chassis.unload(swarm_id)

    async def run(self, swarm_id: str) -> bool:
        """Run a task of 1 KiB; return whether it succeeded."""
        task_id = f"run-{next(self._numbers)}"
        given = {"do": "e", "text": "x" * 1_000}
        return (await self._client.chassis.execute(swarm_id, task_id, given)).succeeded

    async def good(self, swarm_id: str) -> None:
        """Run a task that must succeed."""
        assert await self.run(swarm_id)


async def _rates(fabric: _Fabric, echo: Echo, each: int) -> None:
    """Show the tasks a second through the server, of one swarm and of several."""
    swarms = [(await fabric.swarm(OBEDIENT, _contract(5.0)))[0] for _ in range(_SWARMS)]
    for swarm_id in swarms:
        await fabric.good(swarm_id)
    report = fabric.report
    report.heading(f"chassis: tasks a second by ExecuteTask, {_CALLERS} in flight for each swarm")
    for count in (1, _SWARMS):
        callers = count * _CALLERS
        echoes = tasks = 0.0
        latencies: list[float] = []
        for _ in range(_ROUNDS):
            before = time.perf_counter()
            await crowd(callers, each, lambda _: echo.call())
            echoes += time.perf_counter() - before
            before = time.perf_counter()
            latencies += await crowd(
                callers, each, lambda number: fabric.good(swarms[number // _CALLERS])
            )
            tasks += time.perf_counter() - before
        report.figure(f"echoes a second, {callers} callers", f"{len(latencies) / echoes:.0f}")
        report.figure(f"tasks a second, {count} swarms", f"{len(latencies) / tasks:.0f}")
        report.figure(f"task, {count} swarms", Latency.of(latencies))


async def _neighbours(fabric: _Fabric, echo: Echo, scale: float) -> None:
    """Show how long tasks of a swarm take beside hostile ones, in turn with undisturbed ones."""
    quiet, _ = await fabric.swarm(OBEDIENT, _contract(5.0))
    hostile = (*HOSTILE, *AT_ONCE)[: max(_ROUNDS, int(100 * scale))]
    modules = [(await fabric.swarm(each.module, _contract(0.3)))[1] for each in hostile]
    await fabric.good(quiet)
    before = most = resident_kib(fabric.server.pid)
    names = ("undisturbed", "hostile tasks", "compile bombs")
    tasks: dict[str, list[float]] = {name: [] for name in names}
    echoes: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(_ROUNDS):
        works = (None, partial(_attack, fabric, modules[turn::_ROUNDS]), partial(_bomb, fabric))
        for name, work in zip(names, works, strict=True):
            disturbing = asyncio.create_task(work()) if work else None
            # Each module has its turn; bombs never end.
            awaited = disturbing if name == names[1] else None
            least = time.monotonic() + max(0.5, 5 * scale)
            try:
                while time.monotonic() < least or (awaited and not awaited.done()):
                    echoes[name].append(await timed(echo.call))
                    tasks[name].append(await timed(partial(fabric.good, quiet)))
                    most = max(most, resident_kib(fabric.server.pid))
            finally:
                await _stopped(disturbing)
    report = fabric.report
    report.heading(f"chassis: tasks of a swarm beside {len(hostile)} hostile modules in turn")
    for name in names:
        report.figure(f"echo, {name}", Latency.of(echoes[name]))
        report.figure(f"task, {name}", Latency.of(tasks[name]))
    alone = Latency.of(tasks[names[0]]).p99
    for name in names[1:]:
        report.aim(f"p99 with {name} / undisturbed", Latency.of(tasks[name]).p99 / alone, 2.0)
    report.figure("server's memory before", f"{before / 1024:.0f} MiB")
    report.aim("the most that it grew by, in MB", (most - before) * 1024 / 1e6, 50.0)


async def _stopped(work: asyncio.Task[None] | None) -> None:
    if work is not None:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


async def _attack(fabric: _Fabric, modules: Sequence[str]) -> None:
    """Load a new swarm with each module, and run it."""
    for module in modules:
        swarm_id, _ = await fabric.swarm(module, _contract(0.3))
        for _ in range(_ATTACKS):
            # Not all fail: here a guest that sleeps for a year is told that it did.
            await fabric.run(swarm_id)
        await fabric.leave(swarm_id)


async def _bomb(fabric: _Fabric) -> None:
    """Have modules compiled that take long, and that were never compiled before."""
    while True:
        await fabric.swarm(_BOMB + b";; %d" % time.time_ns(), _contract(0.3))


def _contract(seconds: float) -> ServiceContract:
    limits = ResourceLimits(
        max_memory_mb=16, max_output_bytes=100_000, max_api_calls_per_second=1_000
    )
    limits.max_execution_time.FromMilliseconds(round(seconds * 1_000))
    return ServiceContract(limits=limits, version="1")


async def _measure(scale: float) -> int:
    report = Report()
    await sandbox(report, scale)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        echo = await Echo.start()
        try:
            async with ServerProcess(Path(folder)) as server, Client(server.grpc) as client:
                fabric = _Fabric(server, client, report)
                await _rates(fabric, echo, max(5, int(50 * scale)))
                await _neighbours(fabric, echo, scale)
        finally:
            await echo.stop()
    return report.missed


def main(scale: float) -> int:
    """Run the benchmark; return how many aims were missed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(scale))
