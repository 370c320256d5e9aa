"""Generated histories of views and feeds: at all times they agree with the store."""

import asyncio
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from infrafabric_server.store.feed import Changes, Feed, Gap, Snapshot
from infrafabric_server.store.mirror import Change, Mirror, View
from infrafabric_server.store.protocol import Delete, Op, Put, unchanged
from tests.unit.store.kit import HeldMachine, Item, end

# Hundreds of histories: more than the limit for one test on a machine that is busy.
pytestmark = pytest.mark.timeout(300)

T = TypeVar("T")
State = dict[str, Item]

_IDS = st.sampled_from(["a", "b", "c"])
_WRITES = st.dictionaries(_IDS, st.one_of(st.none(), st.integers(0, 9)), max_size=3)


class Follower:
    """Someone who folds what a feed says, and may be cut off and come back."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.state: State | None = None
        self.cursor: int | None = None
        self.restart()

    def restart(self) -> None:
        self._told = self._feed.follow(self.cursor)
        self._next: asyncio.Future[Snapshot | Changes | Gap] | None = None

    async def cut(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
        await self._told.aclose()

    async def read(self, count: int) -> None:
        """Take up to `count` messages, as far as there are any."""
        for _ in range(count):
            self._next = self._next or asyncio.ensure_future(anext(self._told))
            for _ in range(20):
                await asyncio.sleep(0)
            if not self._next.done():
                return
            self._fold(self._next.result())
            self._next = None

    def _fold(self, told: Snapshot | Changes | Gap) -> None:
        if isinstance(told, Gap):
            self.state = self.cursor = None
            return
        assert self.cursor is None or told.revision > self.cursor
        self.cursor = told.revision
        if isinstance(told, Snapshot):
            self.state = {}
            for entry in told.entries["items/"]:
                assert isinstance(entry.value, Item)
                self.state[entry.id] = entry.value
            return
        assert self.state is not None
        for update in told.updates:
            self.state.pop(update.id, None)
            if update.value is not None:
                assert isinstance(update.value, Item)
                self.state[update.id] = update.value


class ViewMachine(HeldMachine):
    """Own commits, others' changes, held watches, compaction, cut followers."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: State = {}
        self.states: dict[int, State] = {0: {}}

    @initialize()
    def open(self) -> None:
        self.open_store()
        self.mirror = Mirror(self.store)
        self.items: View[Item] = self.mirror.view("items/", Item)
        self.items.subscribe(self._hear)
        self.feed = Feed(self.store, self.mirror, [self.items], capacity=3)
        self.run(self.mirror.start())
        self.following = self.loop.create_task(self.mirror.run())
        self.followers = [Follower(self.feed), Follower(self.feed)]

    @rule(writes=_WRITES)
    def commit(self, writes: dict[str, int | None]) -> None:
        ops: list[Op] = [
            self.items.delete(id_) if n is None else self.items.put(id_, Item(n=n))
            for id_, n in writes.items()
        ]
        self.run(self.mirror.commit([], ops))
        for id_, n in writes.items():
            assert self.items.get(id_) == (None if n is None else Item(n=n))
        self._note()

    @rule(id_=_IDS, n=st.integers(0, 9))
    def commit_what_was_seen(self, id_: str, n: int) -> None:
        """A decision on a view that is behind the store is refused, and on no other."""
        entry = self.items.entry(id_)
        known = entry.mod_revision if entry else 0
        actual = self.run(self.store.get(f"items/{id_}"))
        result = self.run(
            self.mirror.commit([unchanged(f"items/{id_}", known)], [self.items.put(id_, Item(n=n))])
        )
        assert result.succeeded is (known == (actual.mod_revision if actual else 0))
        self._note()

    @rule(writes=_WRITES)
    def others_change(self, writes: dict[str, int | None]) -> None:
        ops: list[Op] = [
            Delete(f"items/{id_}") if n is None else Put(f"items/{id_}", f'{{"n":{n}}}')
            for id_, n in writes.items()
        ]
        self.run(self.store.txn([], [*ops, Put("noise", "x")]))
        self._note()

    @rule(index=st.integers(0, 1), count=st.integers(1, 6))
    def read(self, index: int, count: int) -> None:
        self.run(self.followers[index].read(count))

    @rule(index=st.integers(0, 1))
    def cut(self, index: int) -> None:
        self.run(self.followers[index].cut())
        self.followers[index].restart()

    @invariant()
    def everything_agrees(self) -> None:
        if not hasattr(self, "followers"):
            return
        assert not self.following.done()
        assert self.heard == dict(self.items.items())
        assert list(self.items) == sorted(self.heard)
        settled = {entry.id: entry.value for entry in self.mirror.settled(self.items)}
        assert settled == self.states[self.mirror.revision]
        for follower in self.followers:
            if follower.cursor is not None:
                assert follower.state == self.states[follower.cursor]

    def teardown(self) -> None:
        try:
            if hasattr(self, "followers"):
                self.run(self._end())
        finally:
            end(self.loop)

    async def _end(self) -> None:
        newest = await self.store.revision()
        self.store.release(newest)
        await self.caught_up(newest)
        present = self.states[newest]
        assert dict(self.items.items()) == present
        for id_, item in present.items():
            kv = await self.store.get(f"items/{id_}")
            entry = self.items.entry(id_)
            assert kv is not None
            assert entry is not None
            assert (entry.mod_revision, entry.create_revision, entry.value) == (
                kv.mod_revision,
                kv.create_revision,
                item,
            )
        for follower in self.followers:
            await follower.read(100)
            assert follower.state == present
            await follower.cut()
        await self.mirror.close()
        await self.following
        await self.store.close()

    async def caught_up(self, revision: int) -> None:
        async with asyncio.timeout(10):
            await self.mirror.caught_up(revision)

    def _hear(self, change: Change[Item]) -> None:
        assert self.heard.get(change.id) == change.old
        self.heard.pop(change.id, None)
        if change.new is not None:
            self.heard[change.id] = change.new

    def _note(self) -> None:
        page = self.run(self.store.range("items/"))
        self.states[page.revision] = {
            kv.key.removeprefix("items/"): Item.model_validate_json(kv.value) for kv in page.kvs
        }


TestViews = ViewMachine.TestCase
TestViews.settings = settings(
    max_examples=settings().max_examples * 6,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
