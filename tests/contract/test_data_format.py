"""A store names the format of its records; one of another format is refused, and left as it is."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing
from pathlib import Path

import pytest

from infrafabric_server.store.data_format import DATA_FORMAT, OtherFormat
from infrafabric_server.store.etcd import EtcdOptions, EtcdStore
from infrafabric_server.store.protocol import (
    Member,
    Put,
    Store,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from infrafabric_server.store.sqlite import SqliteStore
from tests.harness.etcd import Etcd


class Folder:
    """A data directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def open(self) -> Store:
        return await SqliteStore.open(self._path)

    def named(self) -> int | None:
        with self._database() as database:
            found = database.execute("SELECT value FROM meta WHERE name = 'data_format'").fetchone()
        return found[0] if found else None

    def name(self, number: int | None) -> None:
        with self._database() as database, database:
            if number is None:
                database.execute("DELETE FROM meta WHERE name = 'data_format'")
            else:
                database.execute("UPDATE meta SET value = ? WHERE name = 'data_format'", (number,))

    def _database(self) -> "closing[sqlite3.Connection]":
        return closing(sqlite3.connect(self._path / "fabric.db"))


class Prefix:
    """A prefix of etcd."""

    def __init__(self, etcd: Etcd, prefix: str) -> None:
        self._etcd = etcd
        self._prefix = prefix
        self._origin = f"{prefix}/own/origin"

    async def open(self) -> Store:
        options = EtcdOptions(attempt=0.5)
        return await EtcdStore.open(self._etcd.address(self._prefix), options=options)

    def named(self) -> int | None:
        number: int | None = self._facts().get("data_format")
        return number

    def name(self, number: int | None) -> None:
        facts = self._facts() | {"data_format": number}
        if number is None:
            del facts["data_format"]
        self._etcd.put(self._origin, json.dumps(facts))

    def remove(self) -> None:
        self._etcd.clear(self._prefix)

    def _facts(self) -> dict[str, int]:
        facts: dict[str, int] = json.loads(
            self._etcd.control("get", self._origin, "--print-value-only")
        )
        # As the fabric counts from where it began, whatever is written to this key later.
        fields = json.loads(self._etcd.control("get", self._origin, "--write-out=json"))
        return {"at": fields["kvs"][0]["mod_revision"]} | facts


Place = Folder | Prefix


@pytest.fixture
def prefix(etcd: Etcd, prefixes: Iterator[int]) -> Prefix:
    return Prefix(etcd, f"format-{next(prefixes)}")


@pytest.fixture(params=["sqlite", "etcd"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Folder(tmp_path / "data")
    prefix: Prefix = request.getfixturevalue("prefix")
    return prefix


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Store]:
    store = await place.open()
    try:
        yield store
    finally:
        await store.close()


async def test_a_fabric_that_begins_names_its_format(place: Place) -> None:
    async with opened(place):
        pass
    assert place.named() == DATA_FORMAT == 2


async def test_a_newer_format_is_refused_and_nothing_is_changed(place: Place) -> None:
    async with opened(place) as store:
        await store.txn([], [Put("tasks/a", "{}")])
    place.name(3)
    with pytest.raises(
        OtherFormat,
        match="has records of format 3, and this release knows format 2; start the release that",
    ):
        await place.open()
    assert place.named() == 3
    place.name(2)
    async with opened(place) as store:
        found = await store.get("tasks/a")
        assert found is not None
        assert (found.value, found.version) == ("{}", 1)


@pytest.mark.parametrize("older", [None, 1])
async def test_an_older_format_is_read_and_raised_before_anything_is_written(
    place: Place, older: int | None
) -> None:
    """One that names none is of the first format."""
    async with opened(place) as store:
        written = await store.txn([], [Put("tasks/a", "{}")])
    place.name(older)
    async with opened(place) as store:
        assert place.named() == DATA_FORMAT
        found = await store.get("tasks/a")
        assert found is not None
        assert (found.value, found.mod_revision) == ("{}", written.revision)
        async with asyncio.timeout(20), aclosing(store.watch("", written.revision)) as watch:
            assert [event.key for event in (await anext(aiter(watch))).events] == ["tasks/a"]
        assert (await store.txn([], [Put("tasks/a", "1")])).revision > written.revision
    async with opened(place) as store:
        assert await store.get("tasks/a") is not None


async def test_no_write_of_an_open_store_is_applied_once_the_format_is_raised(
    prefix: Prefix,
) -> None:
    async with opened(prefix) as store:
        first = await store.txn([], [Put("tasks/a", "old")])
        lease = await store.grant(60)
        prefix.name(3)
        writes: list[Callable[[], Awaitable[object]]] = [
            lambda: store.txn([], [Put("tasks/a", "new")]),
            lambda: store.txn([], [Put("sessions/a", "new", lease)]),
            lambda: store.fold([], [Put("tasks/b", "new")], [Member([], [Put("tasks/c", "new")])]),
        ]
        # One alone, then several at once, which share batches.
        for together in ([writes[0]], writes):
            for answer in await asyncio.gather(
                *(write() for write in together), return_exceptions=True
            ):
                assert isinstance(answer, StoreUnavailable)
        # What is there can still be read.
        assert [(kv.key, kv.value) for kv in (await store.range("")).kvs] == [("tasks/a", "old")]
        found = await store.get("tasks/a")
        assert found is not None
        assert found.mod_revision == first.revision


async def told(
    store: Store, start: int, seen: asyncio.Event | None = None
) -> tuple[list[str], StoreError]:
    """Return the keys that a watch of everything tells, and what ends it.

    `seen` is set as soon as it has told of `tasks/b`.
    """
    keys: list[str] = []
    async with asyncio.timeout(20), aclosing(store.watch("", start)) as watch:
        try:
            async for batch in watch:
                keys += [event.key for event in batch.events]
                if seen is not None and "tasks/b" in keys:
                    seen.set()
        except StoreError as error:
            return keys, error
    raise AssertionError("a watch has no end")


async def test_who_follows_an_open_store_is_told_why_it_ends(prefix: Prefix) -> None:
    """Two replicas, of which neither writes anything: both notice."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(prefix)) for _ in range(2)]
        await stores[0].txn([], [Put("tasks/a", "1")])
        seen = [asyncio.Event() for _ in stores]
        following = [
            asyncio.create_task(told(store, 1, each))
            for store, each in zip(stores, seen, strict=True)
        ]
        await stores[1].txn([], [Put("tasks/b", "1")])
        async with asyncio.timeout(20):
            await asyncio.gather(*(each.wait() for each in seen))
        prefix.name(3)
        for keys, error in await asyncio.gather(*following):
            assert keys == ["tasks/a", "tasks/b"]
            assert isinstance(error, OtherFormat)
            assert "format 3" in str(error)


async def test_who_follows_too_late_to_see_it_happen_is_told_as_well(prefix: Prefix) -> None:
    async with opened(prefix) as store:
        await store.txn([], [Put("tasks/a", "1")])
        prefix.name(3)
        keys, error = await told(store, await store.revision() + 1)
        assert keys == []
        assert isinstance(error, OtherFormat)


async def test_a_fabric_that_is_removed_ends_who_uses_it(prefix: Prefix) -> None:
    async with opened(prefix) as store:
        seen = asyncio.Event()
        following = asyncio.create_task(told(store, 1, seen))
        await store.txn([], [Put("tasks/b", "1")])
        async with asyncio.timeout(20):
            await seen.wait()
        prefix.remove()
        _, error = await following
        assert type(error) is StoreRefused
        assert "was removed or begun anew" in str(error)
        with pytest.raises(StoreUnavailable):
            await store.txn([], [Put("tasks/c", "1")])
        assert (await store.range("")).kvs == ()
