"""What a replica's own copy may not do: stop the fabric, or show what is not the log."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from infrafabric_server.bus.local import Hub, LocalBus
from infrafabric_server.errors import FabricError
from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Put, StoreFull, StoreUnavailable
from infrafabric_server.witness import figures
from infrafabric_server.witness.batches import pack
from infrafabric_server.witness.memory_log import MemoryWitnessLog
from infrafabric_server.witness.models import Entry, EntryFilter
from infrafabric_server.witness.recording import Recording
from tests.unit.witness.simulation import HandLeadership, MemoryStream
from tests.unit.witness.support import chain, drafts, everything, mirrored


class FullFile(MemoryWitnessLog):
    """A copy on a disk that is full until it is told otherwise."""

    full = True

    async def extend(self, entries: Sequence[Entry]) -> None:
        if self.full:
            raise StoreFull("no room to write witness.db")
        await super().extend(entries)


@asynccontextmanager
async def recording(
    file: MemoryWitnessLog, stream: MemoryStream, *, leads: bool = True
) -> AsyncIterator[Recording]:
    """Run what seals into `stream` and copies to `file`; three decisions wait in its store."""
    leadership = SoleLeader() if leads else HandLeadership()
    store = await MemoryStore.open()
    await store.txn([], [Put(kv.key, kv.value) for kv in drafts(3)])
    async with mirrored(store) as mirror, asyncio.TaskGroup() as group:
        bus = LocalBus(Hub())
        it = await Recording.among(store, mirror, file, stream, leadership, bus, "fabric")
        assert it.copy is not None
        running = [group.create_task(work()) for work in (it.sealer.run, it.copy.run)]
        async with asyncio.timeout(20):
            yield it
        for task in running:
            task.cancel()
    await store.close()


async def test_w1_a_full_disk_of_the_leader_stops_its_copy_and_not_the_log() -> None:
    file, stream = FullFile(), MemoryStream()
    async with recording(file, stream) as it:
        assert it.copy is not None
        assert await it.sealer.flush() == 3
        assert len(stream.entries()) == 3
        assert it.copy.sequence == 0
        assert it.copy.lag == 3
        # A new leader does not wait for it either.
        async with recording(file, stream) as second:
            await second.sealer.flush()
        file.full = False
        await it.copy.reached(len(stream.entries()))
        assert it.copy.lag == 0
        assert await everything(file) == stream.entries()


async def test_w1_a_leader_whose_copy_is_broken_goes_on_sealing() -> None:
    file, stream = MemoryWitnessLog(), MemoryStream()
    stream.payloads.append(pack(chain(2)))
    await file.append(drafts(2, replica="another"))
    async with recording(file, stream) as it:
        assert it.copy is not None
        await it.sealer.flush()
        assert len(stream.entries()) == 3
        with pytest.raises(FabricError, match="goes no further than entry 2"):
            await it.copy.reached(3)
        with pytest.raises(StoreUnavailable, match="goes no further than entry 2"):
            it.check()


async def test_a_copy_finds_its_place_in_a_stream_of_any_length() -> None:
    """Whatever the copy holds already, also a part of a message."""
    entries = chain(40)
    sizes = [1, 5, 2, 7, 1, 1, 9, 4, 10]
    stream = MemoryStream()
    place = 0
    for size in sizes:
        stream.payloads.append(pack(entries[place : place + size]))
        place += size
    for known in range(41):
        file = MemoryWitnessLog()
        await file.extend(entries[:known])
        async with recording(file, stream, leads=False) as it:
            assert it.copy is not None
            await it.copy.reached(40)
            assert await everything(file) == entries
            found, _ = await file.read(EntryFilter(), after=known, upto=40, limit=50)
            assert found == entries[known:]


async def test_w1_an_entry_that_the_stream_lacks_is_waited_for() -> None:
    file, stream = MemoryWitnessLog(), MemoryStream()
    entries = chain(4)
    await file.extend(entries[:3])
    stream.payloads.append(pack(entries[:2]))
    async with recording(file, stream, leads=False) as it:
        assert it.copy is not None
        reaching = asyncio.create_task(it.copy.reached(4))
        await asyncio.sleep(0)
        await it.copy.settled(4)
        assert "lacks entry 3" in it.copy.trouble
        it.check()
        stream.payloads.append(pack(entries[2:]))
        await reaching
        assert await everything(file) == entries


async def test_figures_tell_of_the_outbox_the_log_and_the_copy() -> None:
    registry = CollectorRegistry()
    file = FullFile()
    async with recording(file, MemoryStream()) as it:
        assert it.copy is not None
        figures.show(registry, it.sealer, it.tail, it.copy)
        await it.sealer.flush()
        prefix = "infrafabric_witness"
        assert registry.get_sample_value(f"{prefix}_outbox_entries") == 0
        assert registry.get_sample_value(f"{prefix}_copy_lag_entries") == 3
        assert registry.get_sample_value(f"{prefix}_sequence") == 0
        file.full = False
        await it.copy.reached(3)
        assert registry.get_sample_value(f"{prefix}_sequence") == 3
        assert registry.get_sample_value(f"{prefix}_copy_broken") == 0
