"""Events at a steady pace over two replicas, whatever the answers take."""

import asyncio
import time
from collections.abc import Sequence

from infrafabric.v1 import coordinator_claim_pb2 as claim_pb
from infrafabric.v1 import coordinator_task_pb2 as task_pb
from infrafabric.v1 import notify_service_pb2, status_pb2, task_pb2
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.notify_service_pb2_grpc import NotifyServiceStub
from infrafabric.v1.session_server_pb2 import ServerFrame
from tests.benchmarks.controls import Echo
from tests.benchmarks.etcd import Bare
from tests.benchmarks.fabric import Bench, Pushes, RawSession, watch_status
from tests.benchmarks.measuring import Latency

EVENTS_A_SECOND = 50
_SESSIONS = 100


class _Loop:
    """What the events need, and the seconds that each took from the moment at which it was due."""

    def __init__(
        self,
        bench: Bench,
        stubs: Sequence[CoordinatorServiceStub],
        notify: Sequence[NotifyServiceStub],
        echo: Echo,
        bare: Bare,
    ) -> None:
        self.bench = bench
        self.stubs = stubs
        self.notify = notify
        self.echo = echo
        self.bare = bare
        self.pushes = Pushes()
        self.alerts: asyncio.Queue[float] = asyncio.Queue()
        self.changes: asyncio.Queue[float] = asyncio.Queue()
        self.workers: list[str] = []
        self.claimers: list[str] = []
        self.tasks: list[str] = []
        self.notifier = bench.name("notifier")
        self.stuck = bench.name("stuck")
        names = ("claim", "push", "alert", "status", "echo", "swap")
        self.seconds: dict[str, list[float]] = {name: [] for name in names}

    def on_alert(self, _session: RawSession, frame: ServerFrame) -> None:
        """Note when the orchestrator hears of a blocker."""
        if frame.WhichOneof("frame") == "blocker_alert":
            self.alerts.put_nowait(time.perf_counter())

    async def event(self, number: int, due: float) -> None:
        """Make the next event happen: each of the four kinds in turn."""
        kinds = (self._claim, self._push, self._block, self._report)
        await kinds[number % 4](number, due)

    async def control(self, number: int, due: float) -> None:
        """Make an echo or a bare compare-and-swap happen."""
        # A key for each: one swap may overtake another.
        await (self.echo.call() if number % 2 else self.bare.swap(number + 1))
        self.seconds["echo" if number % 2 else "swap"].append(time.perf_counter() - due)

    async def _claim(self, number: int, due: float) -> None:
        request = claim_pb.ClaimTaskRequest(
            swarm_id=self.claimers[number % len(self.claimers)], task_id=self.tasks[number]
        )
        answer = await self.stubs[number // 4 % 2].ClaimTask(request)
        assert answer.claimed, answer
        self.seconds["claim"].append(time.perf_counter() - due)

    async def _push(self, number: int, due: float) -> None:
        name = self.bench.name("opened")
        receipt, _ = self.pushes.expect(name)
        needed = [self.workers[number % len(self.workers)]]
        task = task_pb2.Task(task_id=name, required_capabilities=needed)
        await self.stubs[0].CreateTask(task_pb.CreateTaskRequest(task=task))
        self.seconds["push"].append(await receipt - due)

    async def _block(self, number: int, due: float) -> None:
        request = claim_pb.ReportBlockerRequest(swarm_id=self.stuck, description=f"no key {number}")
        await self.stubs[0].ReportBlocker(request)
        self.seconds["alert"].append(await self.alerts.get() - due)

    async def _report(self, number: int, due: float) -> None:
        status = (status_pb2.STATUS_BUSY, status_pb2.STATUS_IDLE)[number // 4 % 2]
        # Each is a change, also when one overtakes another.
        request = notify_service_pb2.NotifyRequest(
            swarm_id=self.notifier, status=status, message=f"report {number}"
        )
        await self.notify[0].Notify(request)
        self.seconds["status"].append(await self.changes.get() - due)


async def run_open_loop(
    bench: Bench,
    stubs: Sequence[CoordinatorServiceStub],
    notify: Sequence[NotifyServiceStub],
    echo: Echo,
    bare: Bare,
    events: int,
) -> dict[str, Latency]:
    """Return what claims, pushes, alerts and status changes take, and the controls between them.

    Each second of events is followed by one of echoes and bare compare-and-swaps at the same pace:
    all that is waited for sleeps in between, which costs the controls as much as the fabric.
    `bare` is closed.
    """
    loop = _Loop(bench, stubs, notify, echo, bare)
    links = [
        RawSession(stubs[number % 2], bench.name("open"), loop.pushes.on_frame)
        for number in range(_SESSIONS)
    ]
    await asyncio.gather(*(link.open([link.swarm_id], slots=64) for link in links))
    loop.workers = [link.swarm_id for link in links]
    boss = RawSession(stubs[1], bench.name("boss"), loop.on_alert)
    await boss.open([], role=2)
    loop.claimers = await bench.swarms(100)
    loop.notifier, loop.stuck = await bench.swarms(2)
    loop.changes, watching = await watch_status(notify[1], loop.notifier)
    loop.tasks = await bench.manual_tasks(events)
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for place in range(2 * events):
            due = start + place / EVENTS_A_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            second, turn = divmod(place, EVENTS_A_SECOND)
            happen = loop.control if second % 2 else loop.event
            number = second // 2 * EVENTS_A_SECOND + turn
            group.create_task(happen(number, due))
    watching.cancel()
    await bare.close()
    await asyncio.gather(*(link.close() for link in [*links, boss]))
    return {name: Latency.of(seconds) for name, seconds in loop.seconds.items()}
