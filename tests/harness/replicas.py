"""Several replicas of one fabric in this process, over one store, without a network.

For example::

    async with running_cluster("anna", "bert") as cluster:
        anna, bert = cluster["anna"], cluster["bert"]
        link = await bert.fabric.join("s", {"x"})
        await anna.fabric.create(new_task("t", needs={"x"}))
        await cluster.settled()

Each has a `Line` to the store, so that its views can be made old, and itself be frozen; each hears
the others on a bus within the process. Who leads is what the test says: any number of replicas, so
that an old leader can wake up beside the new one. Time passes in `pass_time` only.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from infrafabric_server.bus.local import Hub, LocalBus
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.help.keeper import Keeper
from infrafabric_server.fleet.leadership import (
    ElectedLeader,
    Leadership,
    Listener,
    while_leading,
)
from infrafabric_server.fleet.news import News
from infrafabric_server.fleet.presence import Presence, ReplicaPolicy
from infrafabric_server.notify.notify import Notify
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Compare, StoreClosed
from infrafabric_server.witness.outbox import Outbox
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, running_fabric
from tests.harness.lines import GroupingStore, Line

T = TypeVar("T")

# Claims live with their sessions, and sessions until a test ends them.
LIMITS = Limits(lease=3600.0)
POLICY = ReplicaPolicy(policy_hash="", host="")
# Rounds without anything new after which nothing more follows.
_QUIET = 4


class ChosenLeader:
    """The leadership of a replica as the test says."""

    def __init__(self) -> None:
        self.leading = False
        self._terms = 0
        self._listeners: list[Listener] = []

    @property
    def term(self) -> int | None:
        """See Leadership."""
        return self._terms if self.leading else None

    def fence(self) -> list[Compare]:
        """See Leadership: no leader is fenced, whatever it believes."""
        return []

    def follow(self, listener: Listener) -> None:
        """See Leadership."""
        self._listeners.append(listener)

    def set(self, *, leading: bool) -> None:
        """Begin or cease to lead."""
        if leading is not self.leading:
            self.leading = leading
            self._terms += leading
            for listener in self._listeners:
                listener(leading)


class End(LocalBus):
    """An end of the bus within the process that can be deaf."""

    hears = True

    def deliver(self, subject: str, payload: bytes) -> None:
        """See LocalBus."""
        if self.hears:
            super().deliver(subject, payload)


@dataclass(frozen=True, slots=True)
class Replica:
    """One running replica and what a test may do to it."""

    name: str
    fabric: Fabric
    notify: Notify
    help_keeper: Keeper
    line: Line
    bus: End
    leader: ChosenLeader | None
    stopped: asyncio.Event

    def lead(self, *, leading: bool = True) -> None:
        """Make it believe that it leads, or not."""
        assert self.leader is not None
        self.leader.set(leading=leading)

    def fall_behind(self) -> None:
        """Show it nothing new of what others do."""
        self.line.hold_back()
        self.bus.hears = False

    def come_along(self) -> None:
        """Show it all that others have done."""
        self.line.let_go()
        self.bus.hears = True

    async def behind(self, work: Awaitable[T]) -> T:
        """Return what comes of `work` that begins on old views, and may ask for newer ones."""
        beginning = asyncio.create_task(_run(work))
        for _ in range(50):
            await asyncio.sleep(0)
        self.come_along()
        return await beginning


@dataclass(slots=True)
class Cluster:
    """The replicas that run, by name."""

    store: MemoryStore
    clock: SteppedClock
    group: asyncio.TaskGroup
    limits: Limits
    hub: Hub = field(default_factory=Hub)
    replicas: dict[str, Replica] = field(default_factory=dict)
    _serving: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Replica:
        return self.replicas[name]

    async def add(
        self,
        name: str,
        line: Line | None = None,
        *,
        bus: End | None = None,
        lead: Callable[[Line, Mirror], Leadership] | None = None,
    ) -> Replica:
        """Start a replica; without `lead` it leads when the test says so."""
        ready: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        line = line or Line(self.store)
        serving = self._serve(name, line, bus or End(self.hub), lead, ready)
        self._serving[name] = self.group.create_task(self._until_killed(name, serving))
        self.replicas[name] = await ready
        return self.replicas[name]

    async def _until_killed(self, name: str, serving: Awaitable[None]) -> None:
        try:
            await serving
        except* StoreClosed:
            # Whatever of it was at the store when it died.
            if name in self.replicas:
                raise

    async def _serve(
        self,
        name: str,
        line: Line,
        bus: End,
        lead: Callable[[Line, Mirror], Leadership] | None,
        ready: "asyncio.Future[Replica]",
    ) -> None:
        mirror = Mirror(line, shared=True)
        chosen = None if lead else ChosenLeader()
        leadership = lead(line, mirror) if lead else chosen
        assert leadership is not None
        presence = Presence(
            line, mirror, self.clock, name, policy=lambda: POLICY, sleep=self.clock.sleep
        )
        attendance = Attendance(
            name, presence, partial(bus.publish, "attendance"), sleep=self.clock.sleep
        )
        bus.subscribe("attendance", attendance.hear)
        news = News(mirror, partial(bus.publish, "news"), sleep=one_turn)
        bus.subscribe("news", news.hear)
        running = running_fabric(
            line,
            clock=self.clock,
            limits=self.limits,
            leadership=leadership,
            mirror=mirror,
            attendance=attendance,
            replica=name,
            presence=presence,
        )
        async with running as fabric:
            notify = Notify(
                mirror,
                fabric.fleet,
                fabric.coordinator,
                Outbox(self.clock, f"{name}n", ()),
                self.clock,
                leadership,
                fabric.ledger,
                replica=name,
                broadcasts=fabric.coordinator.records.broadcasts,
                requests=fabric.coordinator.records.requests,
            )
            notify.start()
            keeper = fabric.parts.help.keeper(fabric.breakers.records, leadership, sleep=one_turn)
            replica = Replica(name, fabric, notify, keeper, line, bus, chosen, asyncio.Event())
            async with asyncio.TaskGroup() as group:
                runs: list[Awaitable[None]] = [
                    notify.run(),
                    attendance.run(),
                    presence.run(),
                    news.run(),
                    while_leading(leadership, keeper.run),
                ]
                if isinstance(leadership, ElectedLeader):
                    runs.append(leadership.run())
                tasks = [group.create_task(_run(run)) for run in runs]
                ready.set_result(replica)
                await replica.stopped.wait()
                for task in tasks:
                    task.cancel()

    async def kill(self, name: str) -> Replica:
        """End a replica as `kill -9` does: its sessions' leases and its leadership stay."""
        replica = self.replicas.pop(name)
        await replica.bus.close()
        replica.line.cut()
        serving = self._serving.pop(name)
        serving.cancel()
        await asyncio.wait((serving,))
        await replica.fabric.mirror.close()
        return replica

    def awake(self) -> list[Replica]:
        """Return the replicas that are not frozen."""
        return [each for each in self.replicas.values() if not each.line.frozen]

    async def settled(self) -> None:
        """Return when nothing more follows, without time passing, at those who are not frozen."""
        quiet = 0
        while quiet < _QUIET:
            before = await self.store.revision()
            for replica in self.awake():
                await replica.fabric.mirror.caught_up(before)
                await replica.notify.settled()
            for _ in range(10):
                await asyncio.sleep(0)
            busy = any(_is_busy(replica) for replica in self.awake())
            quiet = 0 if busy or await self.store.revision() != before else quiet + 1

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and what falls due be done, at those who are not frozen."""
        await self.clock.advance(seconds)
        for replica in self.awake():
            replica.fabric.parts.timers.fire()
            if replica.leader is None or replica.leader.leading:
                replica.notify.escalation.check()
                replica.help_keeper.wake()
        await self.settled()


async def one_turn(_seconds: float) -> None:
    """Wait for a turn of the event loop instead of seconds."""
    await asyncio.sleep(0)


def _is_busy(replica: Replica) -> bool:
    parts = replica.fabric.parts
    resting = replica.help_keeper.resting
    return parts.background.busy or not parts.scheduler.idle or not resting


async def _run(work: Awaitable[T]) -> T:
    return await work


@asynccontextmanager
async def running_cluster(
    *names: str, store: MemoryStore | None = None, limits: Limits = LIMITS
) -> AsyncIterator[Cluster]:
    """Run replicas over one store, in which others' transactions may share a revision.

    The first of `names` leads.
    """
    clock = SteppedClock()
    store = store or await GroupingStore.open(clock=clock, sleep=clock.sleep)
    async with asyncio.TaskGroup() as group:
        cluster = Cluster(store, clock, group, limits)
        for name in names:
            await cluster.add(name)
        if names:
            cluster[names[0]].lead()
        try:
            yield cluster
        finally:
            for replica in cluster.replicas.values():
                replica.come_along()
                replica.line.thaw()
                replica.stopped.set()
    await store.close()
