"""What the tests of the log in JetStream share: replicas with files, on a real NATS server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from infrafabric_server.bus.nats import NatsBus
from infrafabric_server.clock import SystemClock
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Put, Store
from infrafabric_server.witness.chain import verify
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.jetstream import JetStream
from infrafabric_server.witness.models import Entry
from infrafabric_server.witness.outbox import Outbox
from infrafabric_server.witness.recording import Recording
from infrafabric_server.witness.sqlite_log import SqliteWitnessLog
from infrafabric_server.witness.witness import Witness
from tests.harness.nats import Nats
from tests.unit.witness.simulation import LEADER, HandLeadership
from tests.unit.witness.support import everything, mirrored

SUBJECT = "fabric"


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica that runs."""

    witness: Witness
    recording: Recording
    outbox: Outbox
    bus: NatsBus
    stream: JetStream
    store: Store

    async def decide(self, *operations: str) -> None:
        """Commit one transaction with an entry for each operation."""
        self.outbox.check()
        await self.store.txn([], [self.outbox.draft("test", each) for each in operations])

    async def log(self) -> list[Entry]:
        """Return this replica's copy, which must be one chain, after all that was decided."""
        await self.witness.flush()
        entries = await everything(self.recording.log)
        assert verify(entries).broken is None
        return entries

    async def operations(self) -> list[str]:
        """Return what the log says was done, after all that was decided."""
        return [entry.operation for entry in await self.log()]


@asynccontextmanager
async def replica(
    nats: Nats,
    store: Store,
    directory: Path,
    leadership: Leadership,
    *,
    limit: int = 100_000,
    patience: float = 15.0,
    address: str = "",
    changes: Callable[[Recording], None] = lambda _: None,
) -> AsyncIterator[Replica]:
    """Run a replica with its files in `directory`; `address` is a way to `nats`."""
    file = await SqliteWitnessLog.open(directory, copy=True)
    bus = await NatsBus.open(address or nats.address)
    try:
        stream = JetStream(lambda: bus.client, SUBJECT)
        async with mirrored(store) as mirror, asyncio.TaskGroup() as group:
            recording = await Recording.among(store, mirror, file, stream, leadership, bus, SUBJECT)
            changes(recording)
            clock = SystemClock()
            outbox = Outbox(clock, directory.name, recording.sealer, limit=limit)
            flood = Flood(outbox, store, clock, component="test")
            witness = Witness(
                file,
                recording.tail,
                recording.sealer,
                flood,
                copy=recording.copy,
                patience=patience,
            )
            running = group.create_task(witness.run())
            yield Replica(witness, recording, outbox, bus, stream, store)
            running.cancel()
    finally:
        await bus.close()
        await file.close()


async def elect(store: Store, leadership: HandLeadership) -> HandLeadership:
    """Make somebody the leader; those before learn of it when the test says so."""
    leadership.begin((await store.txn([], [Put(LEADER, "somebody")])).revision)
    return leadership


@asynccontextmanager
async def memory() -> AsyncIterator[MemoryStore]:
    """Open a store that replicas share."""
    store = await MemoryStore.open()
    yield store
    await store.close()


@asynccontextmanager
async def stream_on(nats: Nats, subject: str = SUBJECT) -> AsyncIterator[JetStream]:
    """Open a stream, connected."""
    bus = await NatsBus.open(nats.address)
    try:
        async with asyncio.timeout(10):
            await bus.ready()
        yield JetStream(lambda: bus.client, subject)
    finally:
        await bus.close()


def ids(entries: Sequence[Entry]) -> list[str]:
    """Return the ids of entries."""
    return [entry.entry_id for entry in entries]
