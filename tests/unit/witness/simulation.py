"""Several replicas in one process, whose every call to store and stream waits to be let through.

A test decides which call goes on next and how it ends, so that it can bring about any order of
events: a leader that stands still between two calls, an answer that is lost, a message that
arrives after its sender has given up.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Self

from infrafabric_server.fleet.leadership import Listener
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import (
    Compacted,
    Compare,
    Op,
    Put,
    RangeResult,
    StoreUnavailable,
    TxnResult,
    WatchBatch,
    unchanged,
)
from infrafabric_server.witness.batches import unpack
from infrafabric_server.witness.log_copy import LogCopy
from infrafabric_server.witness.memory_log import MemoryWitnessLog
from infrafabric_server.witness.models import Entry, Sealed
from infrafabric_server.witness.outbox import Outbox
from infrafabric_server.witness.sealer import Sealer
from infrafabric_server.witness.stream import Message, Superseded
from infrafabric_server.witness.stream_appender import StreamAppender
from infrafabric_server.witness.tail import Tail
from tests.unit.witness.support import HandClock, no_time

LEADER = "leader/fabric"
# Turns of the event loop after which everybody waits at a gate, or for somebody who does.
_TURNS = 40


class MemoryStream:
    """A stream that is shared by all who hold it; see LogStream."""

    # One or two entries: what is decided at once is sealed in several messages.
    room = 360

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    async def create(self) -> None:
        """There it is."""

    async def last(self) -> Message | None:
        count = len(self.payloads)
        return Message(count, self.payloads[-1]) if count else None

    async def get(self, position: int) -> Message | None:
        if position > len(self.payloads):
            return None
        return Message(position, self.payloads[position - 1])

    async def append(self, payload: bytes, after: int) -> int:
        if after != len(self.payloads):
            raise Superseded(f"{after} is not the last one")
        self.payloads.append(payload)
        return len(self.payloads)

    def entries(self) -> list[Entry]:
        """Return all that is sealed."""
        return [entry for payload in self.payloads for entry in unpack(payload)]


@dataclass(frozen=True, slots=True)
class Waiter:
    """A call that waits to be let through: whose, which, and how it may end."""

    who: str
    call: str
    endings: tuple[str, ...]
    future: "asyncio.Future[str]"


class Gates:
    """Where calls wait; `opened` lets all through, well."""

    def __init__(self) -> None:
        self.opened = False
        self._waiting: list[Waiter] = []

    async def at(self, who: str, call: str, *endings: str) -> str:
        """Wait to be let through; return how the call shall end, `well` or one of `endings`."""
        if self.opened:
            return "well"
        waiter = Waiter(who, call, ("well", *endings), asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        return await waiter.future

    @property
    def waiting(self) -> list[Waiter]:
        """The calls that wait, in an order that depends on nothing but what was let through."""
        self._waiting = [each for each in self._waiting if not each.future.done()]
        return sorted(self._waiting, key=lambda each: (each.who, each.call))

    def open(self) -> None:
        """Let everything through from now on."""
        self.opened = True
        for waiter in self.waiting:
            waiter.future.set_result("well")


class GatedStream:
    """One replica's way to a stream."""

    room = MemoryStream.room

    def __init__(self, stream: MemoryStream, gates: Gates, who: str) -> None:
        self._stream = stream
        self._gates = gates
        self._who = who
        # What was sent and has not arrived, though nobody waits for it any more.
        self.late: list[tuple[bytes, int]] = []

    async def create(self) -> None:
        await self._call("create")

    async def last(self) -> Message | None:
        await self._call("last")
        message = await self._stream.last()
        await self._call("last answered")
        return message

    async def get(self, position: int) -> Message | None:
        await self._call("get")
        return await self._stream.get(position)

    async def append(self, payload: bytes, after: int) -> int:
        ending = await self._gates.at(self._who, "append", "lost", "cut", "late")
        if ending == "late":
            self.late.append((payload, after))
        if ending in ("lost", "late"):
            raise StoreUnavailable(ending)
        position = await self._stream.append(payload, after)
        if ending == "cut" or await self._gates.at(self._who, "appended", "cut") == "cut":
            raise StoreUnavailable("cut")
        return position

    async def arrive(self) -> None:
        """Let the oldest late message arrive."""
        payload, after = self.late.pop(0)
        if after == len(self._stream.payloads):
            await self._stream.append(payload, after)

    async def _call(self, call: str) -> None:
        if await self._gates.at(self._who, call, "lost") == "lost":
            raise StoreUnavailable("lost")


class GatedStore(MemoryStore):
    """One replica's way to a store."""

    @classmethod
    def to(cls, store: MemoryStore, gates: Gates, who: str) -> "GatedStore":
        """Return the way of `who` to `store`."""
        way = cls.__new__(cls)
        way.store, way.gates, way.who = store, gates, who
        return way

    store: MemoryStore
    gates: Gates
    who: str

    async def range(
        self, prefix: str, *, limit: int = 1000, after: str = "", revision: int = 0
    ) -> RangeResult:
        if await self.gates.at(self.who, "range", "lost") == "lost":
            raise StoreUnavailable("lost")
        result = await self.store.range(prefix, limit=limit, after=after, revision=revision)
        await self.gates.at(self.who, "range answered")
        return result

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        if (ending := await self.gates.at(self.who, "txn", "lost", "cut")) == "lost":
            raise StoreUnavailable("lost")
        result = await self.store.txn(compares, success, failure)
        if ending == "cut":
            raise StoreUnavailable("cut")
        await self.gates.at(self.who, "txn answered")
        return result

    async def watch(self, prefix: str, start_revision: int) -> AsyncGenerator[WatchBatch, None]:
        async for batch in self.store.watch(prefix, start_revision):
            if await self.gates.at(self.who, "watch", "behind") == "behind":
                raise Compacted(start_revision + 1)
            yield batch

    async def revision(self) -> int:
        await self.gates.at(self.who, "revision")
        revision = await self.store.revision()
        await self.gates.at(self.who, "revision answered")
        return revision


class HandLeadership:
    """Leads when the test says so, also when another one leads already."""

    def __init__(self) -> None:
        self.leading = False
        self.term: int | None = None
        self._listeners: list[Listener] = []

    def fence(self) -> list[Compare]:
        return [unchanged(LEADER, self.term or -1)]

    def follow(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def begin(self, term: int) -> None:
        """Lead from now on."""
        self.leading, self.term = True, term
        self._tell()

    def end(self) -> None:
        """Learn that it is over."""
        self.leading = False
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener(self.leading)


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica: how it seals, and what it copied."""

    name: str
    leadership: HandLeadership
    stream: GatedStream
    file: MemoryWitnessLog
    copy: LogCopy
    mirror: Mirror
    sealer: Sealer
    outbox: Outbox

    @classmethod
    async def make(cls, name: str, store: MemoryStore, stream: MemoryStream, gates: Gates) -> Self:
        """Return a replica that does not run yet."""
        way, leadership, file = GatedStream(stream, gates, name), HandLeadership(), None
        file = MemoryWitnessLog()
        copy = await LogCopy.open(file, way, await Tail.open(file), sleep=no_time)
        gated = GatedStore.to(store, gates, name)
        mirror = Mirror(gated)
        sealer = Sealer(gated, mirror, StreamAppender(way, copy), leadership, sleep=no_time)
        sealer.follow(copy.expect)
        outbox = Outbox(HandClock(), name, sealer)
        return cls(name, leadership, way, file, copy, mirror, sealer, outbox)

    async def follow(self) -> None:
        """Load the mirror and run it."""
        await self.mirror.start()
        await self.mirror.run()


class World:
    """Replicas on one store and one stream."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.stream = MemoryStream()
        self.gates = Gates()
        self.replicas: list[Replica] = []
        self.decided: list[str] = []

    @classmethod
    async def make(cls, count: int) -> Self:
        """Return a world of `count` replicas, none of which leads."""
        world = cls(await MemoryStore.open())
        for number in range(count):
            world.replicas.append(
                await Replica.make(f"r{number}", world.store, world.stream, world.gates)
            )
        return world

    async def elect(self, replica: Replica) -> None:
        """Make `replica` the leader; those before learn of it later."""
        put = Put(LEADER, replica.name)
        replica.leadership.begin((await self.store.txn([], [put])).revision)

    async def decide(self, replica: Replica, count: int) -> None:
        """Decide `count` times in one transaction of `replica`."""
        puts = [replica.outbox.draft("test", "decided") for _ in range(count)]
        await self.store.txn([], puts)
        self.decided += [put.key.removeprefix("outbox/") for put in puts]

    async def recorded(self) -> int:
        """Return how far the log goes as the store has it."""
        kv = await self.store.get("outbox.sealed")
        return 0 if kv is None else Sealed.model_validate_json(kv.value).sequence

    async def quiet(self) -> None:
        """Return when nothing goes on unless a gate is opened."""
        for replica in self.replicas:
            replica.sealer.hurry()
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def work(self, replica: Replica, *but: str) -> None:
        """Let all calls of `replica` through until it makes no other ones than `but`."""
        while True:
            await self.quiet()
            mine = [each for each in self.gates.waiting if each.who == replica.name]
            if not (free := [each for each in mine if each.call not in but]):
                return
            for waiter in free:
                waiter.future.set_result("well")

    async def finish(self) -> None:
        """Let everything through, and return when all is sealed and copied."""
        for replica in self.replicas[1:]:
            replica.leadership.end()
        while any(replica.stream.late for replica in self.replicas):
            for replica in self.replicas:
                if replica.stream.late:
                    await replica.stream.arrive()
        await self.elect(self.replicas[0])
        self.gates.open()
        async with asyncio.timeout(30):
            for replica in self.replicas:
                replica.sealer.hurry()
                await replica.copy.reached(await replica.sealer.flush())
