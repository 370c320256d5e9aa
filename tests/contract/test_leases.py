import pytest

from infrafabric_server.store.protocol import Get, KeyValue, LeaseNotFound, Put, Store
from tests.contract.worlds import World, opened, watched


async def read(store: Store, *keys: str) -> list[KeyValue | None]:
    """Return the keys after all writes that are on their way, such as those of a timer."""
    return list((await store.txn([], [Get(key) for key in keys])).gets)


async def test_a_lease_ends_with_its_time_and_takes_its_keys_in_one_change(
    world: World, store: Store
) -> None:
    """C10: a session that goes silent loses its lease."""
    lease = await store.grant(10)
    await store.txn([], [Put("a", "1", lease), Put("b", "1", lease), Put("c", "1")])
    await world.pass_time(9)
    assert None not in await read(store, "a", "b", "c")
    await world.pass_time(1.5)
    (batch,) = await watched(store, "", 2, 2)
    assert [(event.key, event.kv) for event in batch.events] == [("a", None), ("b", None)]
    assert await store.get("c") is not None


async def test_a_renewed_lease_lives_on(world: World, store: Store) -> None:
    lease = await store.grant(10)
    await store.txn([], [Put("a", "1", lease)])
    for _ in range(5):
        await world.pass_time(6)
        await store.keepalive(lease)
    assert await read(store, "a") != [None]
    await world.pass_time(9)
    assert await read(store, "a") != [None]
    await world.pass_time(1.5)
    await watched(store, "a", 2, 2)


async def test_leases_end_each_at_its_own_time(world: World, store: Store) -> None:
    short, long = await store.grant(5), await store.grant(20)
    await store.txn([], [Put("short", "1", short), Put("long", "1", long)])
    # Granted later and shorter than what the timer waits for.
    shortest = await store.grant(1)
    await store.txn([], [Put("shortest", "1", shortest)])
    for seconds, revision, key in ((1.5, 3, "shortest"), (4, 4, "short"), (15, 5, "long")):
        await world.pass_time(seconds)
        (batch,) = await watched(store, "", revision, revision)
        assert [event.key for event in batch.events] == [key]


async def test_an_ended_lease_is_not_found_and_its_id_is_never_used_again(
    world: World,
) -> None:
    async with opened(world) as store:
        lease = await store.grant(10)
        await world.pass_time(11)
        await read(store)
        with pytest.raises(LeaseNotFound):
            await store.keepalive(lease)
        await store.revoke(lease)
    async with opened(world) as store:
        with pytest.raises(LeaseNotFound):
            await store.keepalive(lease)
        assert await store.grant(10) not in (0, lease)


async def test_revoking_deletes_the_keys_at_once(store: Store) -> None:
    lease, other = await store.grant(10), await store.grant(10)
    assert 0 not in (lease, other)
    assert lease != other
    await store.txn([], [Put("a", "1", lease), Put("b", "1", other)])
    await store.revoke(lease)
    assert await store.get("a") is None
    assert await store.get("b") is not None
    with pytest.raises(LeaseNotFound):
        await store.keepalive(lease)
    assert await store.revision() == 2


async def test_a_lease_without_keys_ends_without_a_change(store: Store) -> None:
    await store.revoke(await store.grant(10))
    assert await store.revision() == 0


async def test_a_put_moves_the_key_to_another_lease_or_to_none(store: Store) -> None:
    """A session that reconnects binds its key to its new lease."""
    first, second = await store.grant(10), await store.grant(10)
    await store.txn([], [Put("moved", "1", first), Put("freed", "1", first)])
    await store.txn([], [Put("moved", "2", second), Put("freed", "2")])
    await store.revoke(first)
    moved, freed = await read(store, "moved", "freed")
    assert moved is not None
    assert freed is not None
    assert (moved.lease, freed.lease) == (second, 0)
    await store.revoke(second)
    assert await read(store, "moved") == [None]


async def test_a_restart_gives_every_lease_its_whole_time_again(world: World) -> None:
    async with opened(world) as store:
        lease, held = await store.grant(10), await store.grant(10)
        await store.txn([], [Put("a", "1", lease), Put("held", "1", held)])
        await world.pass_time(9)
    await world.pass_time(100)
    async with opened(world) as store:
        await world.pass_time(9)
        assert None not in await read(store, "a", "held")
        await store.keepalive(held)
        await world.pass_time(1.5)
        await watched(store, "", 2, 2)
        assert await read(store, "held") != [None]


@pytest.mark.parametrize("ttl", [0.0, 0.09, -1.0, float("nan"), float("inf")])
async def test_a_ttl_out_of_bounds_is_refused(store: Store, ttl: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        await store.grant(ttl)
