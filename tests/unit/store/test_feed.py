import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from infrafabric_server.store.feed import Changes, Feed, Gap, Snapshot, Update
from infrafabric_server.store.mirror import Mirror, View
from infrafabric_server.store.protocol import Delete, Put, StoreClosed
from tests.unit.store.kit import HeldStore, Item, running

Told = Snapshot | Changes | Gap


class Place:
    """A store with a running mirror and a feed of `items/` that holds very little."""

    def __init__(self, store: HeldStore) -> None:
        self.store = store
        self.mirror = Mirror(store)
        self.items: View[Item] = self.mirror.view("items/", Item)
        self.mirror.view("noise/", Item)
        self.feed = Feed(store, self.mirror, [self.items], capacity=4)

    async def put(self, n: int, name: str = "a") -> int:
        """Change an item behind the mirror's back, and wait until the mirror has it."""
        result = await self.store.txn([], [Put(f"items/{name}", Item(n=n).model_dump_json())])
        await self.caught_up()
        return result.revision

    async def caught_up(self) -> None:
        revision = await self.store.revision()
        self.store.release(revision)
        await self.mirror.caught_up(revision)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    store = await HeldStore.open()
    place = Place(store)
    async with running(place.mirror):
        yield place
    await store.close()


@asynccontextmanager
async def following(place: Place, after: int | None) -> AsyncIterator[AsyncGenerator[Told, None]]:
    async with asyncio.timeout(10), aclosing(place.feed.follow(after)) as follower:
        yield follower


def numbers(told: list[Told]) -> list[tuple[int, int | None]]:
    """Return the revision and the item's number of each change."""
    found = []
    for changes in told:
        assert isinstance(changes, Changes)
        for update in changes.updates:
            assert update.value is None or isinstance(update.value, Item)
            found.append((changes.revision, update.value.n if update.value else None))
    return found


async def test_n10_a_follower_gets_a_snapshot_and_then_every_change(place: Place) -> None:
    """N10: a snapshot, then live events with a cursor."""
    await place.put(1)
    async with following(place, None) as follower:
        first = await anext(follower)
        assert isinstance(first, Snapshot)
        assert first.revision == 1
        assert [(entry.id, entry.value) for entry in first.entries["items/"]] == [("a", Item(n=1))]
        await place.put(2)
        await place.store.txn([], [Put("noise/a", "{}"), Put("else", "x")])
        await place.store.txn([], [Put("items/b", '{"n":3}'), Delete("items/a")])
        await place.caught_up()
        assert await anext(follower) == Changes(2, (Update("items/", "a", Item(n=2), 2),))
        assert await anext(follower) == Changes(
            4, (Update("items/", "a", None, 4), Update("items/", "b", Item(n=3), 4))
        )


async def test_a_change_is_decoded_once_for_all(place: Place) -> None:
    async with following(place, None) as one, following(place, None) as two:
        await anext(one)
        await anext(two)
        await place.put(1)
        first, second = await anext(one), await anext(two)
        assert first is second
        assert isinstance(first, Changes)
        assert first.updates[0].value is place.items.get("a")


@pytest.mark.parametrize("cursor", [0, 1, 17, 29, 30])
async def test_n10_a_follower_comes_back_to_its_place(place: Place, cursor: int) -> None:
    """N10: after a cut, resuming from the cursor loses nothing."""
    for n in range(1, 31):
        await place.put(n)
    async with following(place, cursor) as follower:
        told = [await anext(follower) for _ in range(30 - cursor)]
        assert numbers(told) == [(n, n) for n in range(cursor + 1, 31)]
        # And goes on with what happens now.
        await place.put(31)
        assert numbers([await anext(follower)]) == [(31, 31)]


async def test_a_slow_follower_loses_nothing(place: Place) -> None:
    async with following(place, None) as slow, following(place, None) as quick:
        await anext(slow)
        await anext(quick)
        for n in range(1, 21):
            await place.put(n)
            assert numbers([await anext(quick)]) == [(n, n)]
        assert numbers([await anext(slow) for _ in range(20)]) == [(n, n) for n in range(1, 21)]
        await place.put(21)
        assert numbers([await anext(slow)]) == [(21, 21)]


async def test_n10_a_cursor_that_is_too_old_is_told(place: Place) -> None:
    """N10: a gap notice, then a new snapshot."""
    for n in range(1, 11):
        await place.put(n)
    await place.store.compact(8)
    async with following(place, 3) as follower:
        assert await anext(follower) == Gap(8)
        snapshot = await anext(follower)
        assert isinstance(snapshot, Snapshot)
        assert snapshot.revision == 10
        await place.put(11)
        assert numbers([await anext(follower)]) == [(11, 11)]
    async with following(place, 7) as follower:
        assert numbers([await anext(follower)]) == [(8, 8)]


async def test_a_cursor_from_another_time_is_told(place: Place) -> None:
    """A cursor from a store that was lost must not wait for its revision to come again."""
    await place.put(1)
    async with following(place, 100) as follower:
        assert isinstance(await anext(follower), Gap)
        assert isinstance(await anext(follower), Snapshot)


async def test_a_snapshot_is_exact_while_own_commits_are_ahead(place: Place) -> None:
    """What a snapshot shows, no later change repeats, and none is taken back."""
    await place.put(1)
    await place.put(1, "b")
    await place.store.txn([], [Put("items/a", '{"n":2}')])
    await place.mirror.commit(
        [], [place.items.put("a", Item(n=3)), place.items.put("c", Item(n=3))]
    )
    await place.mirror.commit([], [place.items.delete("b")])
    async with following(place, None) as follower:
        snapshot = await anext(follower)
        assert isinstance(snapshot, Snapshot)
        assert snapshot.revision == 2
        assert [(entry.id, entry.value) for entry in snapshot.entries["items/"]] == [
            ("a", Item(n=1)),
            ("b", Item(n=1)),
        ]
        await place.caught_up()
        told = [await anext(follower) for _ in range(3)]
        assert numbers(told) == [(3, 2), (4, 3), (4, 3), (5, None)]


async def test_a_mirror_that_was_left_behind_tells_its_followers_of_the_gap(place: Place) -> None:
    await place.put(1)
    async with following(place, None) as follower:
        await anext(follower)
        waiting = asyncio.ensure_future(anext(follower))
        for n in range(2, 6):
            await place.store.txn([], [Put("items/a", Item(n=n).model_dump_json())])
        await place.store.compact(5)
        await place.caught_up()
        # The mirror's watch had taken the second revision in its hand before it was forgotten.
        told = await waiting
        while isinstance(told, Changes):
            told = await anext(follower)
        assert told == Gap(5)
        snapshot = await anext(follower)
        assert isinstance(snapshot, Snapshot)
        assert [entry.value for entry in snapshot.entries["items/"]] == [Item(n=5)]


async def test_followers_end_with_the_mirror(place: Place) -> None:
    async with following(place, None) as follower:
        await anext(follower)
        waiting = asyncio.ensure_future(anext(follower))
        await asyncio.sleep(0)
        await place.mirror.close()
        with pytest.raises(StoreClosed):
            await waiting
