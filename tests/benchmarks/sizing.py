"""What a fabric of two replicas takes: memory of what it holds, CPU and disk of what it decides."""

import asyncio
import os
import tempfile
from itertools import cycle
from pathlib import Path

import uvloop
from grpc import aio

from infrafabric.v1 import witness_service_pb2 as witness_pb
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.witness_service_pb2_grpc import WitnessServiceStub
from tests.benchmarks.fabric import Bench, RawSession
from tests.benchmarks.measuring import Report, cpu_seconds, crowd, resident_kib
from tests.harness.cluster import Cluster

_SESSIONS = 1_000
_TASKS = 20_000
_CALLERS = 64
_SLOTS = 64


class Sizing:
    """One run against two replicas; all calls go to the first one."""

    def __init__(self, cluster: Cluster, folder: Path, report: Report, scale: float) -> None:
        self._folder = folder
        self._report = report
        self._scale = scale
        backing = cluster.backing
        first, second = cluster.replicas
        self._pids = {
            "replica that is called": first.pid,
            "other replica": second.pid,
            "etcd": backing.etcd.members[0].pid,
            "NATS": backing.nats.pid,
        }
        self._places = {
            "witness.db of a replica": second.data,
            "stream of the witness log": folder / "nats",
            "database of etcd": folder / "etcd0" / "member" / "snap",
        }
        self._channels = [aio.insecure_channel(each.grpc) for each in cluster.replicas]
        self._stub = CoordinatorServiceStub(self._channels[0])
        self._bench = Bench(self._stub)

    def _times(self, number: int) -> int:
        return max(100, int(number * self._scale))

    async def start(self) -> None:
        """Print what everything takes before there is anything."""
        self._report.heading("resident memory at the start")
        for name, pid in self._pids.items():
            self._report.figure(name, f"{resident_kib(pid) / 1024:.0f} MiB")

    async def sessions(self) -> None:
        """Print what an open session takes."""
        count = self._times(_SESSIONS)
        before = self._memory()
        links = [
            RawSession(self._stub, self._bench.name("worker"), lambda *_: None)
            for _ in range(count)
        ]
        await asyncio.gather(*(link.open([link.swarm_id]) for link in links))
        await self._sealed()
        self._report.heading(f"memory of a session, {count} open at the one replica")
        self._print_memory(before, count)
        await asyncio.gather(*(link.close() for link in links))

    async def claims(self) -> None:
        """Print what a waiting task takes, and then what a claim takes."""
        count = self._times(_TASKS)
        swarms = await self._bench.swarms(-(-count // _SLOTS), _SLOTS)
        memory = self._memory()
        tasks = await self._bench.manual_tasks(count)
        await self._sealed()
        self._report.heading(f"memory of a task, {count} waiting")
        self._print_memory(memory, count)
        disk = {name: _size(place) for name, place in self._places.items()}
        spent = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        each = count // _CALLERS
        pairs = zip(cycle(swarms), tasks, strict=False)
        await crowd(_CALLERS, each, lambda _: self._bench.claim(*next(pairs)))
        await self._sealed()
        self._report.heading(f"a claim, {each * _CALLERS} by {_CALLERS} callers")
        for name, pid in self._pids.items():
            used = (cpu_seconds(pid) - spent[name]) / (each * _CALLERS)
            self._report.figure(f"CPU, {name}", f"{used * 1e6:.0f} µs")
        for name, place in self._places.items():
            grown = (_size(place) - disk[name]) / (each * _CALLERS)
            self._report.figure(f"disk, {name}", f"{grown:.0f} bytes")

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()

    async def _sealed(self) -> None:
        """Return when all that was decided is in the log and in both copies."""
        for channel in self._channels:
            request = witness_pb.QueryEntriesRequest(page_size=1)
            await WitnessServiceStub(channel).QueryEntries(request)

    def _memory(self) -> dict[str, int]:
        return {name: resident_kib(pid) for name, pid in self._pids.items()}

    def _print_memory(self, before: dict[str, int], count: int) -> None:
        for name, kib in self._memory().items():
            self._report.figure(name, f"{(kib - before[name]) / count:.1f} KiB")


def _size(place: Path) -> int:
    """Return the bytes that the files below a folder take on the disk."""
    return sum(os.lstat(path).st_blocks * 512 for path in place.rglob("*") if path.is_file())


async def _measure(scale: float) -> int:
    report = Report()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        async with Cluster(folder, replicas=2) as cluster:
            run = Sizing(cluster, folder, report, scale)
            for part in (run.start, run.sessions, run.claims):
                await part()
            await run.close()
    return report.missed


def main(scale: float) -> int:
    """Run it; there are no aims, and so 0 is returned."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(scale))
