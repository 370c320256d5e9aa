"""Raw clients of the fabric for the benchmark: generated stubs and nothing more."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from grpc import aio

from infrafabric.v1 import coordinator_claim_pb2 as claim_pb
from infrafabric.v1 import coordinator_swarm_pb2 as swarm_pb
from infrafabric.v1 import coordinator_task_pb2 as task_pb
from infrafabric.v1 import notify_service_pb2, task_pb2
from infrafabric.v1 import session_client_pb2 as client_pb
from infrafabric.v1 import session_server_pb2 as server_pb
from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.notify_service_pb2_grpc import NotifyServiceStub
from tests.benchmarks.controls import Echo
from tests.benchmarks.measuring import Report, crowd

# A third of the lease.
_HEARTBEAT_SECONDS = 5.0

OnFrame = Callable[["RawSession", server_pb.ServerFrame], None]


class RawSession:
    """One session stream, kept alive. Task frames are acknowledged; `on_frame` sees all frames."""

    def __init__(self, stub: CoordinatorServiceStub, swarm_id: str, on_frame: OnFrame) -> None:
        self.swarm_id = swarm_id
        self._call: Any = stub.OpenSession()
        self._on_frame = on_frame
        self._waiting: list[client_pb.ClientFrame] = []
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, capabilities: list[str], *, slots: int = 1, role: int = 1) -> None:
        """Open the stream and start its reader and its writer."""
        opening = client_pb.OpenFrame(
            swarm_id=self.swarm_id,
            capabilities=capabilities,
            slots=slots,
            role=client_pb.SessionRole.ValueType(role),
        )
        frames = [client_pb.ClientFrame(open=opening)]
        await self._call.write(OpenSessionRequest(frames=frames))
        await self._call.read()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]

    def send(self, frame: client_pb.ClientFrame) -> None:
        """Queue a frame; all that waits goes out in one message."""
        self._waiting.append(frame)
        self._wake.set()

    async def close(self) -> None:
        """End the stream."""
        for task in self._tasks:
            task.cancel()
        self._call.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self) -> None:
        while (response := await self._call.read()) is not aio.EOF:
            for frame in response.frames:
                if frame.WhichOneof("frame") == "task":
                    task = frame.task.task
                    ack = client_pb.AckFrame(task_id=task.task_id, attempt=task.attempt)
                    self.send(client_pb.ClientFrame(ack=ack))
                self._on_frame(self, frame)

    async def _write(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await self._wake.wait()
            if not self._waiting:
                self._waiting.append(client_pb.ClientFrame(heartbeat=client_pb.HeartbeatFrame()))
            self._wake.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:64], self._waiting[64:]
                await self._call.write(OpenSessionRequest(frames=batch))


class Bench:
    """The calls that the benchmark makes, with fresh names for everything."""

    def __init__(self, stub: CoordinatorServiceStub) -> None:
        self.stub = stub
        self._count = 0

    def name(self, kind: str) -> str:
        """Return a name that was not used before."""
        self._count += 1
        return f"{kind}-{self._count}"

    async def manual_tasks(self, count: int) -> list[str]:
        """Create tasks that wait to be claimed by hand."""
        names = [self.name("manual") for _ in range(count)]
        for start in range(0, count, 500):
            tasks = [
                task_pb2.Task(task_id=name, dispatch=task_pb2.DISPATCH_MANUAL)
                for name in names[start : start + 500]
            ]
            await self.stub.CreateTasks(task_pb.CreateTasksRequest(tasks=tasks))
        return names

    async def swarms(self, count: int, slots: int = 64) -> list[str]:
        """Register swarms."""
        names = [self.name("swarm") for _ in range(count)]
        for name in names:
            request = swarm_pb.RegisterSwarmRequest(swarm_id=name, max_concurrent_tasks=slots)
            await self.stub.RegisterSwarm(request)
        return names

    async def claim(self, swarm_id: str, task_id: str) -> None:
        """Claim a task, which must be won."""
        request = claim_pb.ClaimTaskRequest(swarm_id=swarm_id, task_id=task_id)
        answer = await self.stub.ClaimTask(request)
        assert answer.claimed, answer


class Pushes:
    """Workers that complete what they get at once, and when each task was received and done."""

    def __init__(self) -> None:
        self.received: dict[str, asyncio.Future[float]] = {}
        self.done: dict[str, asyncio.Future[float]] = {}

    def expect(self, task_id: str) -> tuple[asyncio.Future[float], asyncio.Future[float]]:
        """Return the moments of receipt and of acknowledged completion of a task to come."""
        loop = asyncio.get_running_loop()
        self.received[task_id] = loop.create_future()
        self.done[task_id] = loop.create_future()
        return self.received[task_id], self.done[task_id]

    def on_frame(self, session: RawSession, frame: server_pb.ServerFrame) -> None:
        """Complete each task; note the moments."""
        kind = frame.WhichOneof("frame")
        if kind == "task":
            task = frame.task.task
            moment = self.received.pop(task.task_id, None)
            if moment is not None:
                moment.set_result(time.perf_counter())
            complete = client_pb.CompleteFrame(task_id=task.task_id, attempt=task.attempt)
            session.send(client_pb.ClientFrame(request_id=task.task_id, complete=complete))
        elif kind == "reply" and frame.reply.request_id in self.done:
            assert frame.reply.WhichOneof("result") != "error", frame
            self.done.pop(frame.reply.request_id).set_result(time.perf_counter())


async def measure_rate(
    bench: Bench, stubs: Sequence[CoordinatorServiceStub], echo: Echo, report: Report, each: int
) -> float:
    """Show the tasks submitted and completed a second, 64 in flight, and return tasks / echoes.

    Eight workers are spread over `stubs`; all tasks are submitted on a stream to the first.
    `each` is how many tasks each of the 64 submits in each of four rounds.
    """
    pushes = Pushes()
    workers = [
        RawSession(stubs[number % len(stubs)], bench.name("worker"), pushes.on_frame)
        for number in range(8)
    ]
    await asyncio.gather(*(link.open(["work"], slots=16) for link in workers))
    submitter = RawSession(stubs[0], bench.name("submitter"), pushes.on_frame)
    await submitter.open(["none"], role=2)

    async def submit(_caller: int) -> None:
        name = bench.name("rated")
        _, completion = pushes.expect(name)
        task = task_pb2.Task(task_id=name, required_capabilities=["work"])
        frame = client_pb.CreateFrame(tasks=[task])
        submitter.send(client_pb.ClientFrame(create=frame))
        await completion

    echoes = tasks = 0.0
    for _ in range(4):
        before = time.perf_counter()
        await crowd(64, each, lambda _: echo.call())
        echoes += time.perf_counter() - before
        before = time.perf_counter()
        await crowd(64, each, submit)
        tasks += time.perf_counter() - before
    done = 4 * 64 * each
    report.figure("echoes a second", f"{done / echoes:.0f}")
    report.figure("tasks submitted, pushed and completed a second", f"{done / tasks:.0f}")
    await asyncio.gather(*(link.close() for link in [*workers, submitter]))
    return echoes / tasks


async def measure_claims(
    bench: Bench, stubs: Sequence[CoordinatorServiceStub], echo: Echo, report: Report, each: int
) -> float:
    """Show the claims a second on 64 streams, one in flight on each; return claims / echoes.

    The streams are spread over `stubs`; each claims `each` tasks in each of four rounds.
    """
    claimed: dict[str, asyncio.Future[None]] = {}

    def on_frame(_session: RawSession, frame: server_pb.ServerFrame) -> None:
        if frame.WhichOneof("frame") == "reply":
            assert frame.reply.claim.claimed, frame
            claimed.pop(frame.reply.request_id).set_result(None)

    echoes = claims = 0.0
    for _ in range(4):
        links = [
            RawSession(stubs[number % len(stubs)], bench.name("claimer"), on_frame)
            for number in range(64)
        ]
        await asyncio.gather(*(link.open([], slots=each) for link in links))
        tasks = iter(await bench.manual_tasks(64 * each))
        before = time.perf_counter()
        await crowd(64, each, lambda _: echo.call())
        echoes += time.perf_counter() - before

        async def claim(
            caller: int, links: list[RawSession] = links, tasks: Iterator[str] = tasks
        ) -> None:
            name = next(tasks)
            answer = claimed[name] = asyncio.get_running_loop().create_future()
            frame = client_pb.ClaimFrame(task_id=name)
            links[caller].send(client_pb.ClientFrame(request_id=name, claim=frame))
            await answer

        before = time.perf_counter()
        await crowd(64, each, claim)
        claims += time.perf_counter() - before
        await asyncio.gather(*(link.close() for link in links))
    done = 4 * 64 * each
    report.figure("echoes a second", f"{done / echoes:.0f}")
    report.figure("claims a second", f"{done / claims:.0f}")
    return echoes / claims


async def watch_status(
    stub: NotifyServiceStub, swarm_id: str
) -> tuple[asyncio.Queue[float], asyncio.Task[None]]:
    """Watch one swarm: return the moments of its changes to come, and what puts them there."""
    seen: asyncio.Queue[float] = asyncio.Queue()
    listening = asyncio.Event()

    async def follow() -> None:
        async for response in stub.WatchStatus(notify_service_pb2.WatchStatusRequest()):
            for event in response.events:
                kind = event.WhichOneof("event")
                if kind == "snapshot_end":
                    listening.set()
                elif kind == "changed" and event.changed.swarm_id == swarm_id:
                    seen.put_nowait(time.perf_counter())

    follower = asyncio.create_task(follow())
    await listening.wait()
    return seen, follower
