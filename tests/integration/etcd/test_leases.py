"""Leases on etcd: who keeps them, and when they count as lost."""

import asyncio
import time
from contextlib import aclosing

import pytest

from infrafabric_server.store.etcd import EtcdStore
from infrafabric_server.store.protocol import LeaseNotFound, Put
from tests.harness.etcd import Etcd
from tests.integration.etcd.kit import Counts, opened


async def _gone(store: EtcdStore, key: str, revision: int) -> None:
    async with asyncio.timeout(30), aclosing(store.watch(key, revision + 1)) as watch:
        async for batch in watch:
            if batch.events[0].kv is None:
                return


async def _renewed_until_lost(store: EtcdStore, lease: int) -> None:
    async with asyncio.timeout(20):
        while True:
            await store.keepalive(lease)
            await asyncio.sleep(0.1)


async def test_c10_a_busy_event_loop_does_not_cost_a_lease(etcd: Etcd) -> None:
    """C10: etcd gives this lease 3 s; the loop does nothing for 6."""
    counts = Counts()
    async with opened(etcd.address(), observer=counts) as store:
        lease = await store.grant(2.0)
        await store.txn([], [Put("a", "1", lease)])
        time.sleep(6)  # noqa: ASYNC251  # the busy loop is what is tested
        await store.keepalive(lease)
        assert await store.get("a") is not None
        assert 0 < counts.slack <= 3


async def test_a_lease_of_a_fraction_of_a_second_ends_in_time(etcd: Etcd) -> None:
    """The least that etcd grants is two seconds."""
    async with opened(etcd.address()) as store:
        lease = await store.grant(0.3)
        began = time.monotonic()
        result = await store.txn([], [Put("a", "1", lease)])
        await _gone(store, "a", result.revision)
        assert 0.25 < time.monotonic() - began < 1.5


async def test_a_lease_that_cannot_be_renewed_is_lost_by_our_own_clock(etcd: Etcd) -> None:
    (member,) = etcd.members
    async with opened(etcd.address()) as store:
        lease = await store.grant(3.0)
        result = await store.txn([], [Put("a", "1", lease)])
        member.pause()
        try:
            with pytest.raises(LeaseNotFound, match="in time"):
                await _renewed_until_lost(store, lease)
        finally:
            member.resume()
        # etcd's clock was stopped, too: what was told as lost has to end there.
        await _gone(store, "a", result.revision)
        with pytest.raises(LeaseNotFound):
            await store.keepalive(lease)


async def test_the_leases_of_a_store_that_is_gone_end_by_themselves(etcd: Etcd) -> None:
    async with opened(etcd.address()) as other:
        async with opened(etcd.address()) as store:
            lease = await store.grant(1.5)
            result = await store.txn([], [Put("a", "1", lease)])
        assert await other.get("a") is not None
        await _gone(other, "a", result.revision)


async def test_another_store_can_take_a_lease_over(etcd: Etcd) -> None:
    async with opened(etcd.address()) as first, opened(etcd.address()) as second:
        lease = await first.grant(1.0)
        await first.txn([], [Put("a", "1", lease)])
        # Longer than its time: the first store must not end what the second one keeps.
        for _ in range(25):
            await second.keepalive(lease)
            await asyncio.sleep(0.1)
        kv = await second.get("a")
        assert kv is not None
        await _gone(second, "a", kv.mod_revision)
