"""Leases on etcd: timed here to the tenth of a second, and kept there by a thread."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from math import ceil, exp2, log2

import structlog
from grpc import aio

from infrafabric_server.clock import Clock
from infrafabric_server.store.checks import MIN_TTL
from infrafabric_server.store.etcd import rpc
from infrafabric_server.store.etcd.connection import Connection
from infrafabric_server.store.etcd.errors import Verdict, store_error, verdict
from infrafabric_server.store.etcd.keeper import RENEWED_AT, Keeper
from infrafabric_server.store.etcd.layout import Layout
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.leases import LeaseTimer
from infrafabric_server.store.protocol import LeaseNotFound, StoreError

# An id is a positive number of 63 bits, of which the last twelve tell the time of the lease to
# half a percent, so that a store which takes it over knows it. The rest is chance: among a
# million leases, two are the same once in four thousand times.
_RANDOM_BITS = 51
_TTL_BITS = 12
_TTL_MASK = (1 << _TTL_BITS) - 1
_STEPS_TO_DOUBLE = 128
# The longest that etcd grants.
_MAX_TTL = 9_000_000_000


class Leases:
    """Grants, renews and ends leases.

    etcd knows leases of whole seconds, two at least. So each is timed here, as by the
    embedded adapters, and revoked when its time has passed; at etcd it has a quarter more,
    and is renewed there by a thread. What is left when the process dies etcd ends: between
    once and one and a quarter times the lease's time (and a second) after the last renewal.

    Args:
        connection: to the cluster.
        layout: of the fabric's keys.
        clock: times leases.
        keeper_clock: the real time, by which etcd ends leases.
        make_keeper: returns the running thread; called with who hears of lost leases.
        owner: names this store to others.
        randbits: returns a random number of so many bits.
        sleep: waits for a number of seconds of `clock`.
    """

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        clock: Clock,
        keeper_clock: Clock,
        make_keeper: Callable[[Callable[[int], None]], Keeper],
        owner: str,
        randbits: Callable[[int], int],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._timer = LeaseTimer(clock, self._expire, sleep)
        self._clock = keeper_clock
        self._keeper = make_keeper(self._lose)
        self._owner = owner
        self._randbits = randbits
        self._lost: set[int] = set()
        self._some_lost = asyncio.Event()
        self._logger = structlog.get_logger(__name__)

    async def run_timer(self) -> None:
        """End leases when their time has passed, until cancelled."""
        await self._timer.run()

    async def run_losses(self) -> None:
        """End lost leases at etcd, too, when it answers again, until cancelled."""
        while True:
            await self._some_lost.wait()
            self._some_lost.clear()
            for lease in list(self._lost):
                await self._revoke_until_done(lease)
                self._lost.discard(lease)

    async def grant(self, ttl: float) -> int:
        """Create a lease and return its id. Raises StoreError."""
        lease = (self._randbits(_RANDOM_BITS) << _TTL_BITS) | _coded(ttl)
        # A quarter more than its time, so that a renewal each fifth leaves the whole of it.
        wanted = min(ceil(ttl / (1 - RENEWED_AT)), _MAX_TTL)
        sent = self._clock.monotonic()
        granted = float(wanted)
        try:
            answer = await self._connection.read(
                rpc.GRANT, pb.LeaseGrantRequest(ID=lease, TTL=wanted)
            )
            granted = float(answer.TTL)
        except aio.AioRpcError as error:
            # It exists: an earlier attempt was heard.
            if verdict(error) is not Verdict.LEASE_EXISTS:
                raise store_error(error) from error
        self._keeper.hold(lease, ttl, granted, sent)
        self._timer.add(lease, ttl)
        return lease

    async def keepalive(self, lease: int) -> None:
        """Give the lease its whole time again. Raises LeaseNotFound."""
        if lease in self._lost:
            raise LeaseNotFound(f"lease {lease} could not be renewed in time")
        if not self._keeper.holds(lease):
            await self._take_over(lease)
        elif self._keeper.touch(lease):
            self._timer.renew(lease)
        else:
            self._lose(lease)
            raise LeaseNotFound(f"lease {lease} could not be renewed in time")

    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys. Raises StoreError."""
        self._forget(lease)
        try:
            await self._connection.read(rpc.REVOKE, pb.LeaseRevokeRequest(ID=lease))
        except aio.AioRpcError as error:
            if verdict(error) is not Verdict.NO_LEASE:
                raise store_error(error) from error

    async def stop(self) -> None:
        """Renew nothing any more."""
        await self._keeper.stop()

    async def _take_over(self, lease: int) -> None:
        # Granted by a store that may still be there: it has to know that its own time for the
        # lease counts no more.
        request = pb.TxnRequest()
        put = request.success.add().request_put
        put.key, put.value = self._layout.holder(lease), self._owner.encode()
        put.lease = lease
        sent = self._clock.monotonic()
        try:
            left = await self._connection.read(
                rpc.TIME_TO_LIVE, pb.LeaseTimeToLiveRequest(ID=lease)
            )
            if left.TTL <= 0:
                raise LeaseNotFound(f"lease {lease} expired or was revoked")
            await self._connection.read(rpc.TXN, request)
        except aio.AioRpcError as error:
            raise store_error(error) from error
        ttl = _decoded(lease)
        self._keeper.hold(lease, ttl, float(left.TTL), sent)
        self._timer.add(lease, ttl)

    async def _expire(self, leases: Sequence[int]) -> None:
        await asyncio.gather(*(self._expire_one(lease) for lease in leases))

    async def _expire_one(self, lease: int) -> None:
        if not self._keeper.holds(lease):
            return
        holder = pb.RangeRequest(key=self._layout.holder(lease))
        try:
            found = (await self._connection.read(rpc.RANGE, holder)).kvs
        except aio.AioRpcError as error:
            raise store_error(error) from error
        if found and found[0].value != self._owner.encode():
            self._forget(lease)
        else:
            await self.revoke(lease)

    def _lose(self, lease: int) -> None:
        if not self._keeper.holds(lease):
            return
        self._logger.warning("etcd_lease_lost", lease=lease)
        self._forget(lease)
        # It may be alive at etcd; its holder is told that it is not, so it has to end.
        self._lost.add(lease)
        self._some_lost.set()

    def _forget(self, lease: int) -> None:
        self._timer.remove(lease)
        self._keeper.drop(lease)

    async def _revoke_until_done(self, lease: int) -> None:
        pause = self._connection.pauses()
        while True:
            try:
                await self.revoke(lease)
            except StoreError as error:
                if self._connection.closed:
                    raise
                self._logger.warning("etcd_lost_lease_not_ended", lease=lease, reason=str(error))
            else:
                return
            await pause()


def _coded(ttl: float) -> int:
    steps: int = ceil(_STEPS_TO_DOUBLE * log2(ttl / MIN_TTL))
    return min(steps, _TTL_MASK)


def _decoded(lease: int) -> float:
    return MIN_TTL * exp2((lease & (_TTL_MASK)) / _STEPS_TO_DOUBLE)
