"""What is measured against one server, or against several replicas of one fabric."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial

from grpc import aio

from infrafabric.v1 import coordinator_claim_pb2 as claim_pb
from infrafabric.v1 import coordinator_task_pb2 as task_pb
from infrafabric.v1 import (
    notify_service_pb2,
    status_pb2,
    task_pb2,
    witness_service_pb2,
)
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.notify_service_pb2_grpc import NotifyServiceStub
from infrafabric.v1.session_server_pb2 import ServerFrame
from infrafabric.v1.witness_service_pb2_grpc import WitnessServiceStub
from tests.benchmarks.controls import Disk, Echo
from tests.benchmarks.fabric import Bench, Pushes, RawSession, measure_rate, watch_status
from tests.benchmarks.measuring import (
    Latency,
    Report,
    alternate,
    cpu_seconds,
    crowd,
    resident_kib,
)
from tests.harness.server import ServerProcess


class Run:
    """One run of the benchmark against one server."""

    def __init__(
        self, server: ServerProcess, echo: Echo, disk: Disk, report: Report, scale: float
    ) -> None:
        self.server = server
        self.echo = echo
        self.disk = disk
        self.report = report
        self.scale = scale
        self.channel = aio.insecure_channel(server.grpc)
        self.stub = CoordinatorServiceStub(self.channel)
        self.notify = NotifyServiceStub(self.channel)
        self.witness = WitnessServiceStub(self.channel)
        self.bench = Bench(self.stub)

    def times(self, count: int) -> int:
        """Return how often something is measured at this scale."""
        return max(20, int(count * self.scale))

    async def settled(self) -> None:
        """Return when what was set up is sealed, so that it is not measured with the rest."""
        await self.witness.QueryEntries(witness_service_pb2.QueryEntriesRequest(page_size=1))

    async def disk_and_echo(self) -> None:
        """The controls by themselves."""
        self.report.heading("controls: this machine, now")
        syncs = Latency.of([self.disk.sync() for _ in range(self.times(400))])
        self.report.figure("fdatasync of 4 KiB", syncs)
        ping = self.echo.ping()
        unary, pings = await alternate(self.times(1000), self.echo.call, ping)
        ping.close()
        self.report.figure("bare unary echo", Latency.of(unary))
        self.report.figure("bare bidi ping", Latency.of(pings))

    async def claims(self) -> None:
        """Claims by one caller and by 64."""
        rounds = self.times(1000)
        swarms = await self.bench.swarms(rounds // 60 + 1)
        tasks = await self.bench.manual_tasks(rounds)
        position = iter(range(rounds))

        async def claim() -> None:
            at = next(position)
            await self.bench.claim(swarms[at % len(swarms)], tasks[at])

        before = cpu_seconds(self.server.pid)
        echoes, claims = await alternate(rounds, self.echo.call, claim)
        spent = cpu_seconds(self.server.pid) - before
        self.report.heading("claim, one caller")
        echo, own = Latency.of(echoes), Latency.of(claims)
        self.report.figure("bare unary echo", echo)
        self.report.figure("claim", own)
        self.report.figure("server CPU per claim", f"{spent / rounds * 1e6:.0f} µs")
        self.report.aim("claim p50 / echo p50", own.p50 / echo.p50, 2.0)
        await self._crowded_claims()

    async def _crowded_claims(self) -> None:
        each = self.times(20)
        echoes: list[float] = []
        claims: list[float] = []
        echo_time = claim_time = 0.0
        for _ in range(5):
            swarms = await self.bench.swarms(64)
            tasks = iter(await self.bench.manual_tasks(64 * each))
            before = time.perf_counter()
            echoes += await crowd(64, each, lambda _: self.echo.call())
            echo_time += time.perf_counter() - before
            before = time.perf_counter()
            claims += await crowd(64, each, partial(self._claim_next, swarms, tasks))
            claim_time += time.perf_counter() - before
        self.report.heading("claim, 64 callers")
        self.report.figure("bare unary echo", Latency.of(echoes))
        self.report.figure("claim", Latency.of(claims))
        self.report.figure("echoes a second", f"{len(echoes) / echo_time:.0f}")
        self.report.figure("claims a second", f"{len(claims) / claim_time:.0f}")

    async def _claim_next(self, swarms: list[str], tasks: Iterator[str], caller: int) -> None:
        await self.bench.claim(swarms[caller], next(tasks))

    async def pushes(self, sessions: int) -> None:
        """From submit to receipt and to completion, with so many sessions open."""
        pushes = Pushes()
        memory = resident_kib(self.server.pid)
        links = [
            RawSession(self.stub, self.bench.name("worker"), pushes.on_frame)
            for _ in range(sessions)
        ]
        await asyncio.gather(*(link.open([link.swarm_id]) for link in links))
        grown = resident_kib(self.server.pid) - memory
        ping = self.echo.ping()
        received: list[float] = []
        finished: list[float] = []
        position = iter(range(10**9))

        async def push() -> None:
            link = links[next(position) % sessions]
            name = self.bench.name("pushed")
            receipt, completion = pushes.expect(name)
            start = time.perf_counter()
            task = task_pb2.Task(task_id=name, required_capabilities=[link.swarm_id])
            await self.stub.CreateTask(task_pb.CreateTaskRequest(task=task))
            received.append(await receipt - start)
            finished.append(await completion - start)

        rounds = self.times(500)
        before_cpu = cpu_seconds(self.server.pid)
        echoes, pings, _ = await alternate(rounds, self.echo.call, ping, push)
        used = cpu_seconds(self.server.pid) - before_cpu
        ping.close()
        echo, pinged = Latency.of(echoes), Latency.of(pings)
        dispatch, whole = Latency.of(received), Latency.of(finished)
        self.report.heading(f"push, {sessions} sessions")
        self.report.figure("bare unary echo", echo)
        self.report.figure("bare bidi ping", pinged)
        self.report.figure("submit to receipt, durable", dispatch)
        self.report.figure("submit to acknowledged completion", whole)
        self.report.figure(
            "server CPU per submit, push and completion", f"{used / rounds * 1e6:.0f} µs"
        )
        if sessions > 1:
            self.report.figure("server memory per session", f"{grown / sessions:.1f} KiB")
        self.report.aim("submit to receipt p50 / echo p50", dispatch.p50 / echo.p50, 2.0)
        self.report.aim("submit to completion p50 / echo p50", whole.p50 / echo.p50, 3.0)
        await asyncio.gather(*(link.close() for link in links))

    async def rate(self) -> None:
        """Tasks submitted and completed a second, 64 in flight, submitted on a stream."""
        self.report.heading("rate, 64 in flight, submitted on a stream")
        ratio = await measure_rate(self.bench, [self.stub], self.echo, self.report, self.times(60))
        self.report.aim("tasks / echoes", ratio, 0.9, at_least=True)

    async def notifications(self) -> None:
        """A status change to a watcher, and what it costs the caller."""
        swarm_id = self.bench.name("notifier")
        seen, follower = await watch_status(self.notify, swarm_id)
        latencies: list[float] = []
        spent = 0.0
        statuses = (status_pb2.STATUS_BUSY, status_pb2.STATUS_IDLE)
        position = iter(range(10**9))

        async def report() -> None:
            nonlocal spent
            request = notify_service_pb2.NotifyRequest(
                swarm_id=swarm_id, status=statuses[next(position) % 2]
            )
            start, cpu = time.perf_counter(), time.process_time()
            await self.notify.Notify(request)
            spent += time.process_time() - cpu
            latencies.append(await seen.get() - start)

        await report()
        while not seen.empty():
            seen.get_nowait()
        latencies.clear()
        spent = 0.0
        rounds = self.times(500)
        echoes, _ = await alternate(rounds, self.echo.call, report)
        follower.cancel()
        echo, change = Latency.of(echoes), Latency.of(latencies)
        self.report.heading("notify")
        self.report.figure("bare unary echo", echo)
        self.report.figure("status change to watcher", change)
        self.report.figure("ratio of medians", f"{change.p50 / echo.p50:.2f}")
        self.report.aim("status change to watcher p99, ms (N3)", change.p99, 10.0)
        self.report.aim("caller's own CPU, ms (N3)", spent / rounds * 1e3, 1.0)

    async def blockers(self) -> None:
        """A blocker to the orchestrator."""
        seen: asyncio.Queue[float] = asyncio.Queue()

        def on_frame(_session: RawSession, frame: ServerFrame) -> None:
            if frame.WhichOneof("frame") == "blocker_alert":
                seen.put_nowait(time.perf_counter())

        boss = RawSession(self.stub, self.bench.name("boss"), on_frame)
        await boss.open([], role=2)
        (swarm_id,) = await self.bench.swarms(1)
        latencies: list[float] = []

        async def report() -> None:
            start = time.perf_counter()
            await self.stub.ReportBlocker(
                claim_pb.ReportBlockerRequest(swarm_id=swarm_id, description="no key")
            )
            latencies.append(await seen.get() - start)

        echoes, _ = await alternate(self.times(300), self.echo.call, report)
        echo, alert = Latency.of(echoes), Latency.of(latencies)
        self.report.heading("blocker to orchestrator")
        self.report.figure("bare unary echo", echo)
        self.report.figure("report to alert", alert)
        self.report.figure("ratio of medians", f"{alert.p50 / echo.p50:.2f}")
        self.report.aim("report to alert p99, ms (C6)", alert.p99, 10.0)
        await boss.close()

    async def open_loop(self, sessions: int) -> None:
        """C2 and C4: 200 claims and 50 pushes a second, whatever the answers take."""
        pushes = Pushes()
        links = [
            RawSession(self.stub, self.bench.name("open"), pushes.on_frame) for _ in range(sessions)
        ]
        await asyncio.gather(*(link.open([link.swarm_id], slots=64) for link in links))
        seconds = max(2, int(8 * self.scale))
        tasks = await self.bench.manual_tasks(200 * seconds)
        claimers = await self.bench.swarms(100)
        await self.settled()
        claims: list[float] = []
        receipts: list[float] = []

        async def claim(number: int, due: float) -> None:
            await self.bench.claim(claimers[number % 100], tasks[number])
            claims.append(time.perf_counter() - due)

        async def push(number: int, due: float) -> None:
            link = links[number % sessions]
            name = self.bench.name("opened")
            receipt, _ = pushes.expect(name)
            task = task_pb2.Task(task_id=name, required_capabilities=[link.swarm_id])
            await self.stub.CreateTask(task_pb.CreateTaskRequest(task=task))
            receipts.append(await receipt - due)

        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(200 * seconds):
                due = start + number / 200
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(claim(number, due))
                if number % 4 == 0:
                    group.create_task(push(number // 4, due))
        claimed, pushed = Latency.of(claims), Latency.of(receipts)
        self.report.heading(f"open loop, {sessions} sessions, 200 claims and 50 pushes a second")
        self.report.figure("claim", claimed)
        self.report.figure("submit to receipt", pushed)
        self.report.aim("claim p99, ms (C2)", claimed.p99, 5.0)
        self.report.aim("submit to receipt p99, ms (C4)", pushed.p99, 10.0)
        await asyncio.gather(*(link.close() for link in links))
