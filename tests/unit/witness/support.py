"""What the tests of the witness share: drafts, chains and a running witness."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infrafabric_server.clock import SystemClock
from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import KeyValue, Store
from infrafabric_server.witness.appender import LocalAppender
from infrafabric_server.witness.drafts import seal_drafts
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.models import Entry, EntryFilter
from infrafabric_server.witness.outbox import Outbox
from infrafabric_server.witness.sealer import Sealer
from infrafabric_server.witness.tail import Tail
from infrafabric_server.witness.witness import Witness

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


class HandClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def drafts(count: int, *, replica: str = "r", revision: int = 1) -> list[KeyValue]:
    """Return `count` drafts as they lie in an outbox, one decided at each revision."""
    clock = HandClock()
    outbox = Outbox(clock, replica, ())
    waiting = []
    for index in range(count):
        clock.seconds = float(index)
        put = outbox.draft(
            "coordinator" if index % 3 else "notify",
            "claim_won" if index % 2 else "task_created",
            swarm_id=f"swarm-{index % 4}",
            task_id=f"task-{index % 5}",
            attempt=index % 3,
            details={"cost_micros": index, "note": "übrig\n", "list": [1, None, True, {"a": "b"}]},
        )
        at = revision + index
        waiting.append(KeyValue(put.key, put.value, at, at, 1))
    return waiting


def chain(count: int) -> list[Entry]:
    """Return a chain of `count` entries."""
    return list(seal_drafts(drafts(count), (), None))


async def no_time(_seconds: float) -> None:
    """Pass a pause before a repeat."""
    await asyncio.sleep(0)


async def everything(log: WitnessLog) -> list[Entry]:
    """Return all entries of a log."""
    found: list[Entry] = []
    more = True
    while more:
        after = found[-1].sequence if found else 0
        page, more = await log.read(EntryFilter(), after=after, upto=2**62, limit=1000)
        found.extend(page)
    return found


@asynccontextmanager
async def mirrored(store: Store) -> AsyncIterator[Mirror]:
    """Run a mirror of `store` that has no views until the block ends."""
    mirror = Mirror(store)
    await mirror.start()
    async with asyncio.TaskGroup() as group:
        run = group.create_task(mirror.run())
        yield mirror
        run.cancel()


@dataclass(frozen=True, slots=True)
class Running:
    """A witness that runs, and its parts."""

    witness: Witness
    sealer: Sealer
    outbox: Outbox
    flood: Flood
    tail: Tail
    store: Store
    log: WitnessLog
    mirror: Mirror

    async def decide(self, *operations: str, task_id: str = "") -> int:
        """Commit one transaction with an entry for each operation; return its revision."""
        self.outbox.check()
        puts = [self.outbox.draft("test", each, task_id=task_id) for each in operations]
        return (await self.store.txn([], puts)).revision


@asynccontextmanager
async def running(
    store: Store, log: WitnessLog, *, limit: int = 100_000, patience: float = 5.0
) -> AsyncIterator[Running]:
    """Run a witness over `store` and `log` until the block ends."""
    clock = SystemClock()
    tail = await Tail.open(log)
    async with mirrored(store) as mirror, asyncio.TaskGroup() as group:
        sealer = Sealer(store, mirror, LocalAppender(log, tail), SoleLeader(), sleep=no_time)
        outbox = Outbox(clock, "test", sealer, limit=limit)
        flood = Flood(outbox, store, clock, component="coordinator", sleep=no_time)
        witness = Witness(log, tail, sealer, flood, patience=patience)
        run = group.create_task(witness.run())
        yield Running(witness, sealer, outbox, flood, tail, store, log, mirror)
        run.cancel()
