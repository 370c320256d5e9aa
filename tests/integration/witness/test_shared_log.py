"""One log of several replicas, in JetStream, with a copy at each of them."""

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.store.protocol import Put, StoreRefused, StoreUnavailable
from infrafabric_server.transfer import stream_log
from infrafabric_server.witness.batches import pack, unpack
from infrafabric_server.witness.chain import verify
from infrafabric_server.witness.drafts import seal_drafts
from infrafabric_server.witness.models import Entry, EntryFilter
from infrafabric_server.witness.outbox import MAX_DRAFT_CHARACTERS
from infrafabric_server.witness.recording import Recording
from infrafabric_server.witness.sqlite_log import SqliteWitnessLog
from infrafabric_server.witness.sqlite_open import read_log
from tests.harness.nats import Nats
from tests.harness.proxy import Proxy
from tests.integration.witness.kit import Replica, elect, memory, replica, stream_on
from tests.unit.witness.simulation import HandLeadership
from tests.unit.witness.support import chain, drafts, everything, mirrored


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()


def tamper(directory: Path, statement: str) -> None:
    """Change a copy behind its server's back."""
    with closing(sqlite3.connect(directory / "witness.db")) as connection:
        connection.execute("DROP TRIGGER entries_keep")
        connection.execute("DROP TRIGGER entries_stay")
        connection.execute(statement)
        connection.commit()


async def until_refused(it: Replica) -> tuple[int, FabricError]:
    """Decide until a decision is refused; return how many were not, and the refusal."""
    decided = 0
    while True:
        try:
            await it.decide("decided")
        except FabricError as error:
            return decided, error
        decided += 1
        await asyncio.sleep(0)


async def test_w1_every_replica_shows_the_whole_log(nats: Nats, tmp_path: Path) -> None:
    """W2: a query on any of them includes all that was decided before it, on whichever one."""
    leads, follows = HandLeadership(), HandLeadership()
    async with (
        memory() as store,
        replica(nats, store, tmp_path / "a", leads) as a,
        replica(nats, store, tmp_path / "b", follows) as b,
    ):
        await elect(store, leads)
        for number in range(20):
            await (a if number % 2 else b).decide(f"d{number}", f"e{number}")
            page = await b.witness.query(EntryFilter(), None, 1000)
            assert len(page.entries) == 2 * number + 2
        logs = [await a.log(), await b.log()]
        assert logs[0] == logs[1]
    for name in ("a", "b"):
        assert verify(read_log(tmp_path / name)).sequence == 40


async def test_w2_a_tail_on_a_replica_that_only_follows(nats: Nats, tmp_path: Path) -> None:
    leads = HandLeadership()
    async with (
        memory() as store,
        replica(nats, store, tmp_path / "a", leads) as a,
        replica(nats, store, tmp_path / "b", HandLeadership()) as b,
    ):
        await elect(store, leads)
        await a.decide("first", "second")
        found: list[int] = []
        async with asyncio.timeout(10):
            async for entries in b.witness.tail(EntryFilter(), 0):
                found += [entry.sequence for entry in entries]
                if len(found) == 2:
                    await a.decide("third")
                if len(found) == 3:
                    break
        assert found == [1, 2, 3]


async def test_w1_two_that_both_seal_double_nothing(nats: Nats, tmp_path: Path) -> None:
    """One stood still and does not know that it was followed."""
    first, second = HandLeadership(), HandLeadership()
    async with (
        memory() as store,
        replica(nats, store, tmp_path / "a", first) as a,
        replica(nats, store, tmp_path / "b", second) as b,
    ):
        await elect(store, first)
        for number in range(60):
            if number == 20:
                await elect(store, second)
            if number == 40:
                await elect(store, first)
            await (a if number % 2 else b).decide(f"d{number}")
            a.recording.sealer.hurry()
            b.recording.sealer.hurry()
            await asyncio.sleep(0)
        expected = [f"d{number}" for number in range(60)]
        assert await a.operations() == expected
        assert await b.operations() == expected


async def test_w1_nats_killed_at_any_moment_loses_nothing(nats: Nats, tmp_path: Path) -> None:
    leads = HandLeadership()
    async with memory() as store, replica(nats, store, tmp_path / "a", leads) as a:
        await elect(store, leads)
        for number in range(5):
            for part in range(40):
                await a.decide(f"d{number * 40 + part}")
            a.recording.sealer.hurry()
            # A little further into the append each time.
            for _ in range(4 * number):
                await asyncio.sleep(0)
            nats.kill()
            await a.decide(f"while it was away {number}")
            nats.start()
        operations = await a.operations()
        decided = [each for each in operations if each.startswith("d")]
        assert decided == [f"d{number}" for number in range(200)]
        assert len(operations) == 205


async def test_w1_answers_that_are_lost_double_nothing(nats: Nats, tmp_path: Path) -> None:
    """Whatever the server sends next after the append is cut off."""
    leads = HandLeadership()
    async with Proxy(nats.address.removeprefix("nats://")) as proxy, memory() as store:
        address = f"nats://{proxy.address}"
        async with replica(nats, store, tmp_path / "a", leads, address=address) as a:
            await elect(store, leads)
            for number in range(6):
                await a.decide(f"d{number}")
                a.recording.sealer.hurry()
                proxy.cut_after = number * 200
                await a.witness.flush()
            proxy.cut_after = None
            assert await a.operations() == [f"d{number}" for number in range(6)]


async def test_w1_without_nats_decisions_wait_up_to_the_bound(nats: Nats, tmp_path: Path) -> None:
    leads = HandLeadership()
    async with (
        memory() as store,
        replica(nats, store, tmp_path / "a", leads, limit=50) as a,
        replica(nats, store, tmp_path / "b", HandLeadership(), limit=50) as b,
    ):
        await elect(store, leads)
        await a.decide("before")
        assert await b.operations() == ["before"]
        nats.kill()
        decided = 1
        for each in (a, b):
            more, refusal = await until_refused(each)
            assert refusal.reason is Reason.OUTBOX_FULL
            decided += more
        assert decided >= 50
        # What does not need the log goes on, and so does what is in the copies.
        await store.txn([], [Put("sessions/s", "alive")])
        assert len(await everything(b.recording.log)) == 1
        nats.start()
        assert len(await a.log()) == len(await b.log()) == decided
        await a.decide("again")
        assert (await b.operations())[-1] == "again"


async def test_a_replica_starts_without_nats(nats: Nats, tmp_path: Path) -> None:
    async with memory() as store:
        leads = await elect(store, HandLeadership())
        async with replica(nats, store, tmp_path / "a", leads) as a:
            await a.decide("before")
            await a.witness.flush()
        nats.kill()
        async with replica(nats, store, tmp_path / "a", leads, patience=0.2) as a:
            page = await a.witness.query(EntryFilter(), None, 10)
            assert [entry.operation for entry in page.entries] == ["before"]
            await a.decide("without")
            with pytest.raises(FabricError, match="could not be written"):
                await a.witness.flush()
            nats.start()
            assert a.recording.copy is not None
            async with asyncio.timeout(20):
                await a.recording.copy.reached(2)
            assert await a.operations() == ["before", "without"]


async def test_a_copy_that_was_removed_is_made_anew(nats: Nats, tmp_path: Path) -> None:
    leads = HandLeadership()
    async with memory() as store:
        await elect(store, leads)
        async with replica(nats, store, tmp_path / "a", leads) as a:
            for number in range(200):
                await a.decide(f"d{number}")
                if number % 3 == 0:
                    await a.witness.flush()
            before = await a.log()
        for path in (tmp_path / "a").glob("witness.db*"):
            path.unlink()
        async with replica(nats, store, tmp_path / "a", leads) as a:
            await a.decide("new")
            assert (await a.log())[:-1] == before


@pytest.mark.parametrize(
    ("statement", "sequence"),
    [
        ("UPDATE entries SET operation = 'x' WHERE sequence = 2", 2),
        ("UPDATE entries SET operation = 'x' WHERE sequence = 5", 5),
    ],
)
async def test_w1_a_copy_that_was_changed_is_found(
    nats: Nats, tmp_path: Path, statement: str, sequence: int
) -> None:
    """In its middle by whoever verifies it, at its end by the server that starts on it."""
    leads = HandLeadership()
    async with memory() as store:
        await elect(store, leads)
        async with replica(nats, store, tmp_path / "a", leads) as a:
            await a.decide(*"abcde")
            await a.witness.flush()
        tamper(tmp_path / "a", statement)
        broken = verify(read_log(tmp_path / "a")).broken
        assert broken is not None
        assert broken.sequence == sequence
        if sequence == 5:
            with pytest.raises(StoreRefused, match="remove it: it is copied anew from NATS"):
                await SqliteWitnessLog.open(tmp_path / "a", copy=True)


async def test_w1_a_copy_of_another_chain_stops_and_says_so(nats: Nats, tmp_path: Path) -> None:
    """Forged anew to its end, so that it verifies: only the stream shows that it is not the log."""
    leads = HandLeadership()
    forged = await SqliteWitnessLog.open(tmp_path / "b")
    await forged.append(drafts(3))
    await forged.close()
    async with memory() as store:
        await elect(store, leads)
        async with (
            replica(nats, store, tmp_path / "a", leads) as a,
            replica(nats, store, tmp_path / "b", HandLeadership()) as b,
        ):
            await a.decide(*"abcde")
            assert len(await a.log()) == 5
            with pytest.raises(FabricError, match="entry 3 of the copy is not that of the stream"):
                await b.witness.query(EntryFilter(), None, 10)
            with pytest.raises(StoreUnavailable, match="goes no further than entry 3"):
                b.recording.check()
            with pytest.raises(FabricError, match="goes no further than entry 3"):
                await anext(aiter(b.witness.tail(EntryFilter(), 0)))
            a.recording.check()


def forgeries() -> list[tuple[str, list[bytes]]]:
    """Return streams of which the last message is no part of the log, and what is said of it."""
    entries = chain(6)
    other = list(seal_drafts(drafts(6, replica="other"), (), None))
    body = entries[4].body.replace("claim_won", "claim_lost").replace("task_created", "x")
    changed = Entry(5, *[getattr(entries[4], name) for name in Entry.__slots__[1:]])
    object.__setattr__(changed, "body", body)
    good = pack(entries[:4])
    return [
        ("is damaged: it is no batch", [good, b"not a batch"]),
        ("is damaged: the hash of entry 5", [good, pack([changed, entries[5]])]),
        ("entry 6 comes where entry 5 belongs", [good, pack(entries[5:])]),
        ("entry 5 does not follow from entry 4", [good, pack(other[4:])]),
    ]


@pytest.mark.parametrize(("said", "payloads"), forgeries())
async def test_w1_a_stream_that_was_forged_stops_the_copy(
    nats: Nats, tmp_path: Path, said: str, payloads: list[bytes]
) -> None:
    async with (
        stream_on(nats) as stream,
        memory() as store,
        replica(nats, store, tmp_path / "a", HandLeadership()) as a,
    ):
        await stream.create()
        for position, payload in enumerate(payloads):
            await stream.append(payload, position)
        assert a.recording.copy is not None
        with pytest.raises(FabricError, match=said):
            await a.recording.copy.reached(5)
        assert len(await everything(a.recording.log)) in (0, 4)


async def test_w1_a_lost_stream_is_not_begun_anew(nats: Nats, tmp_path: Path) -> None:
    """What was sealed is in the copies: from one of them the stream is brought back."""
    leads = HandLeadership()
    async with memory() as store:
        await elect(store, leads)
        async with replica(nats, store, tmp_path / "a", leads, patience=0.5) as a:
            await a.decide("a", "b")
            before = await a.log()
            assert a.bus.client is not None
            await a.bus.client.jetstream().delete_stream("fabric-witness")
            await a.decide("c")
            with pytest.raises(FabricError, match="could not be written"):
                await a.witness.flush()
            assert await a.stream.last() is None
            await stream_log.extend(a.stream, iter(before))
            assert a.recording.copy is not None
            async with asyncio.timeout(20):
                await a.recording.copy.reached(3)
            assert await a.operations() == ["a", "b", "c"]


async def test_w1_an_old_store_brought_back_seals_nothing_again(nats: Nats, tmp_path: Path) -> None:
    """Its outbox holds what was sealed many messages ago."""
    leads = HandLeadership()
    async with memory() as store:
        await elect(store, leads)
        async with replica(nats, store, tmp_path / "a", leads) as a:
            old = a.outbox.draft("test", "old")
            await store.txn([], [old])
            for number in range(10):
                await a.decide(f"d{number}")
                await a.witness.flush()
            before = await a.log()
    async with memory() as store:
        await elect(store, leads)
        await store.txn([], [old])
        async with replica(nats, store, tmp_path / "a", leads) as a:
            await a.decide("new")
            assert (await a.log())[:-1] == before
        # A replica without a copy first makes one.
        await store.txn([], [old])
        async with replica(nats, store, tmp_path / "b", leads) as b:
            assert len(await b.log()) == 12
            assert await everything(b.recording.log)


async def test_entries_of_any_size_fit_into_messages(nats: Nats, tmp_path: Path) -> None:
    """Random characters of four bytes each, as little as they can be compressed."""
    chance = random.Random(1)
    room = MAX_DRAFT_CHARACTERS - 200
    leads = HandLeadership()
    async with memory() as store, replica(nats, store, tmp_path / "a", leads) as a:
        await elect(store, leads)
        astral = range(0x10000, 0x110000)
        texts = ["".join(map(chr, chance.choices(astral, k=room))) for _ in range(3)]
        puts = [a.outbox.draft("test", "large", details={"text": text}) for text in texts]
        await store.txn([], puts)
        await a.decide("small")
        entries = await a.log()
        assert [entry.details.get("text") for entry in entries] == [*texts, None]
        last = await a.stream.last()
        assert last is not None
        assert last.position >= 3
        assert [entry.sequence for entry in unpack(last.payload)][-1] == 4


async def test_the_copy_of_the_only_replica_goes_on_as_an_embedded_log(
    nats: Nats, tmp_path: Path
) -> None:
    leads = HandLeadership()
    async with memory() as store:
        await elect(store, leads)
        async with replica(nats, store, tmp_path / "a", leads) as a:
            await a.decide("shared")
            await a.witness.flush()
    async with memory() as store:
        log = await SqliteWitnessLog.open(tmp_path / "a")
        async with mirrored(store) as mirror, asyncio.TaskGroup() as group:
            recording = await Recording.alone(store, mirror, log, SoleLeader())
            running = group.create_task(recording.sealer.run())
            await store.txn([], [Put(kv.key, kv.value) for kv in drafts(2)])
            await recording.sealer.flush()
            running.cancel()
        assert verify(await everything(log)).sequence == 3
        await log.close()
