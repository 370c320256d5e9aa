"""Two replicas on etcd and NATS, all on this machine, against bare controls in the same run.

The controls are an echo of grpc.aio, a compare-and-swap of etcd by a bare asyncio client, and a
message over NATS from one connection to another.
"""

import asyncio
import tempfile
import time
from functools import partial
from itertools import count
from pathlib import Path

import uvloop
from grpc import aio

from infrafabric.v1 import coordinator_task_pb2 as task_pb
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.notify_service_pb2_grpc import NotifyServiceStub
from infrafabric.v1.session_server_pb2 import ServerFrame
from infrafabric_server.bus.nats import NatsBus
from tests.benchmarks.controls import Disk, Echo
from tests.benchmarks.etcd import Bare
from tests.benchmarks.fabric import (
    Bench,
    RawSession,
    measure_claims,
    measure_rate,
)
from tests.benchmarks.measuring import Latency, Report, alternate, timed
from tests.benchmarks.open_loop import EVENTS_A_SECOND, run_open_loop
from tests.harness.cluster import Cluster

# Members of etcd, by the name of the part.
SETUPS = {"replicated1": 1, "replicated3": 3}

_SESSIONS = 1000


class Hop:
    """One message over NATS from one connection to another."""

    def __init__(self, here: NatsBus, there: NatsBus) -> None:
        self._here = here
        self._come = asyncio.Event()
        there.subscribe("bench.hop", lambda _: self._come.set())
        self._there = there

    async def __call__(self) -> None:
        """Send a message and wait until it has come."""
        self._come.clear()
        self._here.publish("bench.hop", b"x" * 500)
        await self._come.wait()

    async def close(self) -> None:
        """Close both connections."""
        await self._here.close()
        await self._there.close()

    @classmethod
    async def open(cls, address: str) -> "Hop":
        """Connect twice, and return when messages get through."""
        hop = cls(await NatsBus.open(address, name="a"), await NatsBus.open(address, name="b"))
        while not hop._come.is_set():
            hop._here.publish("bench.hop", b"")
            await asyncio.sleep(0.01)
        return hop


class Replicated:
    """One run against two replicas; what is called goes to the first one."""

    def __init__(self, cluster: Cluster, echo: Echo, report: Report, scale: float) -> None:
        self.cluster = cluster
        self.echo = echo
        self.report = report
        self.scale = scale
        self._channels = [aio.insecure_channel(each.grpc) for each in cluster.replicas]
        self.stubs = [CoordinatorServiceStub(channel) for channel in self._channels]
        self.notify = [NotifyServiceStub(channel) for channel in self._channels]
        self.bench = Bench(self.stubs[0])

    def times(self, number: int) -> int:
        """Return how often something is measured at this scale."""
        return max(20, int(number * self.scale))

    async def claims(self) -> None:
        """Claims by one caller, and by 64, beside an echo and a bare compare-and-swap."""
        bare = Bare(self.cluster.backing.etcd.members[0].endpoint)
        rounds = self.times(1000)
        # A swarm works on a few tasks at a time, and each claim writes how many those are.
        swarms = await self.bench.swarms(rounds // 4)
        tasks = await self.bench.manual_tasks(rounds)
        position = count()

        async def claim() -> None:
            at = next(position)
            await self.bench.claim(swarms[at % len(swarms)], tasks[at])

        await bare.swap(0)
        seconds = await alternate(rounds, self.echo.call, partial(bare.swap, 0), claim)
        echo, swap, own = map(Latency.of, seconds)
        self.report.heading("claim, one caller")
        self.report.figure("bare unary echo", echo)
        self.report.figure("bare compare-and-swap of etcd", swap)
        self.report.figure("claim", own)
        self.report.aim("claim p50 / (echo + swap) p50", own.p50 / (echo.p50 + swap.p50), 1.5)
        await bare.close()

    async def rates(self) -> None:
        """Claims a second on streams, and whole tasks, 64 in flight, over both replicas."""
        self.report.heading("claims on 64 streams, half of them at each replica")
        each = min(64, self.times(30))
        ratio = await measure_claims(self.bench, self.stubs, self.echo, self.report, each)
        self.report.aim("claims / echoes", ratio, 0.8, at_least=True)
        self.report.heading("tasks, 64 in flight, submitted on a stream, workers at both replicas")
        ratio = await measure_rate(self.bench, self.stubs, self.echo, self.report, self.times(60))
        self.report.figure("tasks / echoes", f"{ratio:.2f}")

    async def pushes_across(self) -> None:
        """A push to a session at the other replica, with 1,000 sessions over both.

        Measured from the moment at which a bare watch of etcd shows the assignment, that is from
        when it is durable, to the frame at the session.
        """
        committed: dict[str, asyncio.Future[float]] = {}
        received: dict[str, asyncio.Future[float]] = {}

        def see(moments: dict[str, asyncio.Future[float]], task_id: str) -> None:
            if (moment := moments.pop(task_id, None)) is not None:
                moment.set_result(time.perf_counter())

        def on_frame(_session: RawSession, frame: ServerFrame) -> None:
            if frame.WhichOneof("frame") == "task":
                see(received, frame.task.task.task_id)

        links = [
            RawSession(self.stubs[number % 2], self.bench.name("worker"), on_frame)
            for number in range(_SESSIONS)
        ]
        await asyncio.gather(*(link.open([link.swarm_id], slots=64) for link in links))
        others = links[1::2]
        rounds = self.times(400)
        tasks = await self.bench.manual_tasks(rounds)
        bare = Bare(self.cluster.backing.etcd.members[0].endpoint)
        await bare.watch(b"fabric/kv/tasks/", lambda key: see(committed, key[16:].decode()))
        position = count()
        whole: list[float] = []
        pushes: list[float] = []

        async def push() -> None:
            at = next(position)
            loop = asyncio.get_running_loop()
            commit = committed[tasks[at]] = loop.create_future()
            receipt = received[tasks[at]] = loop.create_future()
            request = task_pb.PushTaskRequest(
                swarm_id=others[at % len(others)].swarm_id, task_id=tasks[at]
            )
            start = time.perf_counter()
            await self.stubs[0].PushTask(request)
            whole.append(await receipt - start)
            pushes.append(await receipt - await commit)

        ping, hop = self.echo.ping(), await Hop.open(self.cluster.backing.nats.address)
        pings, hops, _ = await alternate(rounds, ping, hop, push)
        pinged, hopped, pushed = Latency.of(pings), Latency.of(hops), Latency.of(pushes)
        self.report.heading(f"push to the other replica, {_SESSIONS} sessions over both")
        self.report.figure("bare bidi ping", pinged)
        self.report.figure("one hop over NATS", hopped)
        self.report.figure("from the call to the frame, durable", Latency.of(whole))
        self.report.figure("from the commit to the frame", pushed)
        limit = 2 * pinged.p50 + hopped.p50
        self.report.aim("push p50 / (2 pings + hop) p50", pushed.p50 / limit, 1.0)
        await bare.close()
        ping.close()
        await hop.close()
        await asyncio.gather(*(link.close() for link in links))

    async def open_loop(self) -> None:
        """C2, C4, C6 and N3 at a steady pace; see `open_loop`."""
        endpoint = self.cluster.backing.etcd.members[0].endpoint
        latencies = await run_open_loop(
            self.bench, self.stubs, self.notify, self.echo, Bare(endpoint), self.times(1000)
        )
        self.report.heading(f"open loop, 100 sessions over both, {EVENTS_A_SECOND} events a second")
        self.report.figure("bare unary echo", latencies.pop("echo"))
        self.report.figure("bare compare-and-swap of etcd", latencies.pop("swap"))
        rows = {"claim": ("C2", 5.0), "push": ("C4", 10.0), "alert": ("C6", 10.0)}
        for name, (row, aim) in {**rows, "status": ("N3", 10.0)}.items():
            self.report.figure(name, latencies[name])
            self.report.aim(f"{name} p99, ms ({row})", latencies[name].p99, aim)


async def _measure(members: int, scale: float) -> int:
    report = Report()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        disk, echo = Disk(Path(folder)), await Echo.start()
        try:
            async with Cluster(Path(folder), replicas=2, members=members) as cluster:
                run = Replicated(cluster, echo, report, scale)
                await timed(echo.call)
                report.heading(f"two replicas, etcd of {members}, one NATS, one machine")
                syncs = Latency.of([disk.sync() for _ in range(run.times(400))])
                report.figure("fdatasync of 4 KiB", syncs)
                for part in (run.claims, run.open_loop, run.pushes_across, run.rates):
                    await part()
        finally:
            await echo.stop()
            disk.close()
    return report.missed


def main(members: int, scale: float) -> int:
    """Run the benchmark with so many members of etcd; return how many aims were missed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(members, scale))
