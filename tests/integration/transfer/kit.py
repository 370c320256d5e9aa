"""A fabric with some of everything, and places to put it."""

from collections.abc import Sequence
from pathlib import Path

from infrafabric_server.clock import SystemClock
from infrafabric_server.store.protocol import Delete, KeyValue, Put, Store
from infrafabric_server.store.sqlite import SqliteStore
from infrafabric_server.transfer.folder import Folder
from infrafabric_server.transfer.places import Place
from infrafabric_server.witness.models import Entry
from infrafabric_server.witness.outbox import Outbox
from infrafabric_server.witness.sqlite_log import SqliteWitnessLog
from infrafabric_server.witness.stream import Message, Superseded

NOW = SystemClock().now()


class ListedStream:
    """The stream of a witness log, in a list: for tests of what is done with the store."""

    room = 4096

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    async def create(self) -> None:
        """It is there."""

    async def last(self) -> Message | None:
        return await self.get(len(self.payloads))

    async def get(self, position: int) -> Message | None:
        if not 1 <= position <= len(self.payloads):
            return None
        return Message(position, self.payloads[position - 1])

    async def append(self, payload: bytes, after: int) -> int:
        if after != len(self.payloads):
            raise Superseded(f"the stream has {len(self.payloads)} messages")
        self.payloads.append(payload)
        return len(self.payloads)


async def settle(store: Store, log: SqliteWitnessLog) -> None:
    """Change this and that, some of it together, and seal two decisions of three."""
    outbox = Outbox(SystemClock(), "kit", ())
    # Two tasks of one board share a revision; the one that was made first is changed last.
    await store.txn([], [Put("tasks/zebra", "{}"), Put("tasks/ant", '{"n":1}')])
    done = await store.txn([], [Put("tasks/ant", '{"n":2}'), outbox.draft("kit", "first")])
    status = f'{{"counted_revision":{done.revision - 1},"counted":{{"ant":{done.revision}}}}}'
    await store.txn([], [Put("statuses/worker", status), outbox.draft("kit", "second")])
    await store.txn([], [Put("tasks/gone", "{}")])
    lease = await store.grant(300)
    await store.txn([], [Put("sessions/worker", "{}", lease)])
    waiting = await store.range("outbox/")
    await log.append(sorted(waiting.kvs, key=lambda kv: (kv.mod_revision, kv.key)))
    await store.txn([], [Delete(waiting.kvs[0].key)])
    await store.txn([], [Put("tasks/zebra", '{"text":"ünï\\u0000"}')])
    await store.txn([], [outbox.draft("kit", "third")])
    await store.txn([], [Delete("tasks/gone")])


async def made(directory: Path) -> Folder:
    """Return the data directory of a server that has stopped."""
    store = await SqliteStore.open(directory)
    log = await SqliteWitnessLog.open(directory)
    await settle(store, log)
    await log.close()
    await store.close()
    return Folder(directory)


async def contents(place: Place) -> tuple[list[KeyValue], list[Entry]]:
    """Return all that is at a place, without what lives on a lease."""
    async with place:
        source = await place.source()
        kvs = [kv async for kv in source.kvs() if not kv.lease]
        return kvs, [entry async for entry in source.entries()]


def order(kvs: Sequence[KeyValue]) -> tuple[list[list[str]], list[list[str]]]:
    """Return the keys by age and by last change; those of one revision are together."""
    by_age: dict[int, list[str]] = {}
    by_change: dict[int, list[str]] = {}
    for kv in kvs:
        by_age.setdefault(kv.create_revision, []).append(kv.key)
        by_change.setdefault(kv.mod_revision, []).append(kv.key)
    return (
        [by_age[revision] for revision in sorted(by_age)],
        [by_change[revision] for revision in sorted(by_change)],
    )


def names(directory: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(path.name for path in directory.iterdir())
