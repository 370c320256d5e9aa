"""News of commits: a replica whose watch hangs sees them, and nothing it hears can do harm."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from infrafabric_server.fleet.models import Broadcast
from infrafabric_server.fleet.news import MAX_BYTES, News
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Mirror, View
from infrafabric_server.store.protocol import Put, WatchBatch
from tests.unit.fleet.test_timekeeping import NOON


class HangingStore(MemoryStore):
    """A store whose watch hangs until it is let go."""

    let_go: asyncio.Event

    async def watch(self, prefix: str, start_revision: int) -> AsyncGenerator[WatchBatch, None]:
        async with aclosing(super().watch(prefix, start_revision)) as batches:
            async for batch in batches:
                await self.let_go.wait()
                yield batch


class Listening:
    """A replica that hears news and whose watch hangs."""

    def __init__(self, store: HangingStore) -> None:
        self.mirror = Mirror(store, shared=True)
        self.texts: View[Broadcast] = self.mirror.view("broadcasts/", Broadcast)
        self._sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.news = News(self.mirror, self._sent.put_nowait, sleep=_one_turn)

    async def said(self) -> bytes:
        """Return the next message that is sent."""
        async with asyncio.timeout(10):
            return await self._sent.get()


async def _one_turn(_seconds: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def two(*, hanging: bool = True) -> AsyncIterator[tuple[Listening, Listening, HangingStore]]:
    """Run two replicas over one store, which do not hear each other by themselves."""
    store = await HangingStore.open()
    store.let_go = asyncio.Event()
    if not hanging:
        store.let_go.set()
    replicas = Listening(store), Listening(store)
    async with asyncio.TaskGroup() as group:
        for each in replicas:
            await each.mirror.start()
            group.create_task(each.mirror.run())
        sending = [group.create_task(each.news.run()) for each in replicas]
        await asyncio.sleep(0)
        yield *replicas, store
        for each in replicas:
            await each.mirror.close()
        for task in sending:
            task.cancel()
    await store.close()


def text(message: str) -> Broadcast:
    return Broadcast(message=message, send_time=NOON)


async def test_u6_news_goes_around_a_watch_that_hangs() -> None:
    async with two() as (first, second, store):
        result = await first.mirror.commit([], [first.texts.put("a", text("hello"))])
        assert second.texts.get("a") is None
        message = await first.said()
        second.news.hear(message)
        entry = second.texts.entry("a")
        assert entry is not None
        assert (entry.value, entry.mod_revision) == (text("hello"), result.revision)
        assert second.mirror.revision < result.revision
        store.let_go.set()
        await second.mirror.caught_up(result.revision)
        assert second.texts.entry("a") == entry


async def test_news_that_comes_late_twice_or_out_of_order_changes_nothing() -> None:
    async with two() as (first, second, store):
        await first.mirror.commit([], [first.texts.put("a", text("one"))])
        one = await first.said()
        await first.mirror.commit([], [first.texts.put("a", text("two"))])
        two_ = await first.said()
        result = await first.mirror.commit([], [first.texts.delete("a")])
        gone = await first.said()
        for message in (two_, one, two_):
            second.news.hear(message)
            assert second.texts.get("a") == text("two")
        second.news.hear(gone)
        assert second.texts.get("a") is None
        store.let_go.set()
        await second.mirror.caught_up(result.revision)
        for message in (one, two_, gone):
            second.news.hear(message)
        assert second.texts.get("a") is None


async def test_what_views_do_not_show_and_what_is_long_is_not_sent() -> None:
    async with two() as (first, _, _store):
        await first.mirror.commit([], [Put("outbox/1", "{}")])
        long = text("x" * 4000)
        writes = [first.texts.put(f"t{n}", long) for n in range(MAX_BYTES // 4000)]
        await first.mirror.commit([], writes)
        await first.mirror.commit([], [first.texts.put("short", text("hello"))])
        message = await first.said()
        assert len(message) < 1000


async def test_commits_that_come_together_share_a_message_as_long_as_one_holds_them() -> None:
    async with two() as (first, second, _store):
        for n in range(100):
            first.news.tell(n + 10, [first.texts.put(f"t{n}", text("x" * 4000))])
        one, other = await first.said(), await first.said()
        assert max(len(one), len(other)) < MAX_BYTES + 1000
        second.news.hear(one)
        second.news.hear(other)
        assert len(second.texts) == 100


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"1",
        b"x\n[]",
        b"9\n{",
        b"9\n[1]",
        b"9\n[[9]]",
        b'9\n[["x", []]]',
        b'9\n[[1e999, [["broadcasts/a", null]]]]',
        b'9\n[[9, [["broadcasts/a"]]]]',
        b'9\n[[9, [["broadcasts/a", 5]]]]',
        b'9\n[[9, [["broadcasts/a", "{}"]]]]',
        b'9\n[[9, [["elsewhere/a", "{}"]]]]',
        b'9\n[[9999999999, [["broadcasts/a", null]]]]',
        b"9" * 30 + b"\n[]",
        b"9\n" + b"[" * 10_000,
        b"\xff\xff",
    ],
)
async def test_what_is_no_news_changes_nothing(message: bytes) -> None:
    async with two() as (first, second, store):
        result = await first.mirror.commit([], [first.texts.put("a", text("hello"))])
        second.news.hear(await first.said())
        second.news.hear(message)
        assert second.texts.get("a") == text("hello")
        store.let_go.set()
        await second.mirror.caught_up(result.revision)
        assert list(second.texts) == ["a"]


async def test_what_never_was_is_gone_when_the_watch_has_come_that_far() -> None:
    async with two(hanging=False) as (first, second, _store):
        await first.mirror.commit([], [first.texts.put("a", text("hello"))])
        await second.mirror.catch_up()
        invented = text("invented").model_dump_json()
        second.mirror.hear(second.mirror.revision + 2, [Put("broadcasts/a", invented)])
        assert second.texts.get("a") == text("invented")
        for n in range(3):
            await first.mirror.commit([], [first.texts.put(f"b{n}", text("more"))])
        await second.mirror.catch_up()
        assert second.texts.get("a") == text("hello")
