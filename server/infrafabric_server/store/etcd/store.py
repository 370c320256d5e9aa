"""The store on an etcd cluster."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from grpc import aio

from infrafabric_server.clock import Clock, SystemClock
from infrafabric_server.store.background import Background
from infrafabric_server.store.checks import (
    check_key,
    check_range,
    check_revision,
    check_ttl,
    check_watch,
)
from infrafabric_server.store.closing import Closing
from infrafabric_server.store.etcd import rpc, upkeep
from infrafabric_server.store.etcd.address import Access, EtcdAddress
from infrafabric_server.store.etcd.batcher import Batcher
from infrafabric_server.store.etcd.connection import Connection
from infrafabric_server.store.etcd.errors import Verdict, store_error, verdict
from infrafabric_server.store.etcd.keeper import Keeper
from infrafabric_server.store.etcd.layout import Layout
from infrafabric_server.store.etcd.leases import Leases
from infrafabric_server.store.etcd.observer import NoObserver, Observer
from infrafabric_server.store.etcd.planning import Limits
from infrafabric_server.store.etcd.watch import Watcher
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import (
    Compacted,
    KeyValue,
    RangeResult,
    StoreClosed,
    WatchBatch,
)
from infrafabric_server.store.retention import Retention
from infrafabric_server.store.transacting import AnswerT, Transacting
from infrafabric_server.store.transactions import Request

# Keys that are asked for in one request: with values of some kilobytes, some megabytes.
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class EtcdOptions:
    """How a store on etcd behaves.

    `history` is for how many seconds watches and pinned ranges can look back; fabrics on one
    cluster share the shortest. A member has `attempt` seconds to answer before the next one
    is asked; after `patience` seconds without an answer of any, callers get StoreUnavailable.
    At most `lanes` batches are on their way at a time, each within `limits`.
    """

    history: float = 600.0
    attempt: float = 3.0
    patience: float = 10.0
    lanes: int = 2
    limits: Limits = field(default_factory=Limits)


class EtcdStore(Transacting):
    """A Store on an etcd cluster, for any number of processes; made by `open`.

    What a call acknowledges is on the disks of a majority. Transactions and folds that come
    together are sent together when they touch different keys, and then share a revision. One that
    is larger than the cluster takes is refused with a StoreError that names etcd's flag.
    """

    def __init__(
        self,
        address: EtcdAddress,
        access: Access,
        connection: Connection,
        layout: Layout,
        options: EtcdOptions,
        clock: Clock,
        real_clock: Clock,
        observer: Observer,
        sleep: Callable[[float], Awaitable[object]],
        randbits: Callable[[int], int],
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._newest = 0
        self._closing = Closing(self._close)
        owner = f"{randbits(64):016x}"
        self._watcher = Watcher(connection, layout, observer, self._end)
        marks = upkeep.Marks(connection, layout, self._watcher)
        self._marks = marks

        def new_lane() -> bytes:
            return layout.lanes + f"{owner}-{randbits(64):016x}".encode()

        self._batcher = Batcher(
            connection,
            layout,
            options.lanes,
            new_lane,
            real_clock,
            marks.want,
            self._end,
            observer,
            options.limits,
        )

        def keeper(lost: Callable[[int], None]) -> Keeper:
            return Keeper(address, access, real_clock, lost, observer.lease_slack)

        self._leases = Leases(connection, layout, clock, real_clock, keeper, owner, randbits, sleep)
        retention = Retention(clock, options.history, lambda: self._newest, self._forget, sleep)
        self._background = Background()
        self._background.start("lease_timer", self._leases.run_timer)
        self._background.start("lost_leases", self._leases.run_losses)
        self._background.start("history_retention", retention.run)
        self._background.start("watch_marks", marks.run)

    @classmethod
    async def open(
        cls,
        address: EtcdAddress,
        access: Access | None = None,
        *,
        options: EtcdOptions | None = None,
        clock: Clock | None = None,
        observer: Observer | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        randbits: Callable[[int], int] = secrets.randbits,
    ) -> Self:
        """Connect to a cluster, begin the fabric if it is not there, and return a running store.

        Args:
            address: the members and the fabric's prefix.
            access: certificates, user and password; none by default.
            options: see EtcdOptions.
            clock: measures leases and the age of history; the machine's by default.
            observer: hears of batches, lags and leases.
            sleep: waits for a number of seconds of `clock`.
            randbits: returns a random number of so many bits, for names that nobody else has.

        Raises:
            StoreDenied: the user or the certificate is refused.
            StoreRefused: the prefix holds something else.
            OtherFormat: the fabric is in a format that is not known here.
            StoreUnavailable: no member answered.
        """
        options = options or EtcdOptions()
        access = access or Access()
        # What happens between this process and the cluster takes real time, whatever `clock`
        # says: attempts, and the time that etcd itself gives a lease.
        real_clock = SystemClock()
        connection = Connection(address, access, real_clock, options.attempt, options.patience)
        try:
            layout = await upkeep.origin(connection, address.prefix)
        except BaseException:
            await connection.close()
            raise
        return cls(
            address,
            access,
            connection,
            layout,
            options,
            clock or real_clock,
            real_clock,
            observer or NoObserver(),
            sleep,
            randbits,
        )

    async def get(self, key: str) -> KeyValue | None:
        """Return `key` as it is now, or None."""
        check_key(key)
        answer = await self._range(pb.RangeRequest(key=self._layout.key(key)))
        return self._layout.kv(answer.kvs[0]) if answer.kvs else None

    async def range(
        self, prefix: str, *, limit: int = 1000, after: str = "", revision: int = 0
    ) -> RangeResult:
        """Return a page of keys, as `Store.range` says."""
        check_range(prefix, after, limit)
        self._closing.check()
        if revision:
            await self._check_kept(revision)
        span = self._layout.under(prefix, after)
        found: list[KeyValue] = []
        at = self._layout.etcd(revision) if revision else 0
        more = span.start < span.end
        while more and len(found) < limit:
            answer = await self._range(
                pb.RangeRequest(
                    key=span.start,
                    range_end=span.end,
                    limit=min(_PAGE, limit - len(found)),
                    revision=at,
                )
            )
            at = at or answer.header.revision
            found += map(self._layout.kv, answer.kvs)
            more = answer.more
            if answer.kvs:
                span = self._layout.under(prefix, found[-1].key)
        return RangeResult(
            tuple(found), self._layout.port(at) if at else await self.revision(), more=more
        )

    def watch(self, prefix: str, start_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Yield later changes, as `Store.watch` says."""
        check_watch(prefix, start_revision)
        return self._watcher.follow(prefix, start_revision)

    async def grant(self, ttl: float) -> int:
        """Create a lease of `ttl` seconds and return its id."""
        check_ttl(ttl)
        self._closing.check()
        return await self._leases.grant(ttl)

    async def keepalive(self, lease: int) -> None:
        """Give the lease its whole time again; etcd is told by a thread. Raises LeaseNotFound."""
        self._closing.check()
        await self._leases.keepalive(lease)

    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys in one change."""
        self._closing.check()
        await self._leases.revoke(lease)

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`, for every fabric on the cluster."""
        check_revision(revision, await self.revision())
        await upkeep.compact(self._connection, self._layout, revision)
        self._watcher.compacted(revision)

    async def revision(self) -> int:
        """Return the newest revision of the cluster, as this fabric counts."""
        answer = await self._range(pb.RangeRequest(key=self._layout.origin, count_only=True))
        return self._layout.port(answer.header.revision)

    async def reachable(self, revision: int) -> int:
        """Return `revision`, or an earlier one while etcd takes no marks; see `Store`."""
        self._closing.check()
        if await self._marks.reached(revision):
            return revision
        return await upkeep.newest_batch(self._connection, self._layout)

    async def health(self) -> None:
        """Have a majority write something. Raises StoreError with the reason if that fails."""
        self._closing.check()
        self._background.check()
        self._batcher.check()
        await upkeep.probe(self._connection, self._layout)

    async def close(self) -> None:
        """Finish what was accepted, then release everything. Safe to repeat."""
        await self._closing.close()

    async def _close(self) -> None:
        await self._background.stop()
        self._watcher.end(StoreClosed("the store was closed"))
        await self._batcher.stop()
        await self._leases.stop()
        await self._connection.close()

    def _end(self, origin: Sequence[pb.KeyValue]) -> None:
        # Nothing is written from now on; whoever follows all keys is told why.
        self._watcher.end(upkeep.ended(self._layout, origin))

    async def _transact(self, request: Request, answer: type[AnswerT]) -> AnswerT:
        self._closing.check()
        given = await self._batcher.run(request)
        assert isinstance(given, answer), f"{request} was answered by {given}"
        self._newest = max(self._newest, given.revision)
        return given

    async def _range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        self._closing.check()
        try:
            answer = await self._connection.read(rpc.RANGE, request)
        except aio.AioRpcError as error:
            if verdict(error) is Verdict.COMPACTED:
                raise Compacted(await self._watcher.oldest()) from error
            if verdict(error) is Verdict.FUTURE:
                check_revision(self._layout.port(request.revision), await self.revision())
            raise store_error(error) from error
        self._newest = max(self._newest, self._layout.port(answer.header.revision))
        return answer

    async def _check_kept(self, revision: int) -> None:
        # What is at the revision of etcd's own compaction counts as gone: see Watcher.
        before = max(1, self._layout.etcd(revision) - 1)
        try:
            answer = await self._range(self._probe(before))
        except Compacted:
            # Somebody else may have compacted etcd at its newest revision. What is there now can
            # be read all the same, and where nobody writes there is no other revision to ask for.
            answer = await self._range(self._probe(before + 1))
            if self._layout.port(answer.header.revision) > revision:
                raise
        check_revision(revision, self._layout.port(answer.header.revision))

    def _probe(self, at: int) -> pb.RangeRequest:
        return pb.RangeRequest(key=self._layout.probe, revision=at, count_only=True)

    async def _forget(self, revision: int) -> None:
        await upkeep.sweep_lanes(self._connection, self._layout, revision)
        await upkeep.compact(self._connection, self._layout, revision)
        self._watcher.compacted(revision)
