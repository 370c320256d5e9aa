"""What a store on etcd does beside its callers' work."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog
from grpc import aio

from infrafabric_server.store.data_format import (
    DATA_FORMAT,
    UNNAMED,
    OtherFormat,
    check_data_format,
)
from infrafabric_server.store.etcd import rpc
from infrafabric_server.store.etcd.connection import Connection
from infrafabric_server.store.etcd.errors import Verdict, store_error, verdict
from infrafabric_server.store.etcd.layout import Layout
from infrafabric_server.store.etcd.watch import Watcher
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import StoreError, StoreRefused

# Of our own keys. The records under `kv/` have another number.
_FORMAT = 1
# Stands in place of the format while a fabric is being restored.
RESTORING = "restoring"
# Seconds that a watch may take to reach a revision before it is helped; it mostly needs one
# thousandth. And between two helps: with a neighbour that writes all the time, each read on a
# quiet fabric waits for one.
_QUIET = 0.003
_BETWEEN = 0.01
# Seconds after which a mark that was refused is tried again.
_REFUSED = 1.0
# Lanes that are swept at a time: within etcd's default of 128 operations.
_SWEEP = 50


async def origin(connection: Connection, prefix: str) -> Layout:
    """Return the layout of the fabric under `prefix`, which begins now if it is not there.

    One of an older format is of ours from now on: replicas that know only that can write no more.

    Raises StoreRefused for another format or a part of a fabric, and StoreError.
    """
    key = Layout(prefix).origin
    begin = pb.TxnRequest()
    begin.compare.add(
        key=key, target=pb.Compare.CREATE, result=pb.Compare.EQUAL
    ).create_revision = 0
    begin.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=begun(0)))
    begin.failure.add().request_range.key = key
    while True:
        try:
            # Safe to repeat: only the first of all changes anything.
            answer = await connection.read(rpc.TXN, begin)
            if answer.succeeded:
                return Layout(prefix, answer.header.revision, answer.header.revision)
            found = answer.responses[0].response_range.kvs[0]
            layout = layout_of(prefix, found)
            raised = _raised(found)
            if raised is None:
                return layout
            request = pb.TxnRequest()
            request.compare.add(
                key=key, target=pb.Compare.MOD, result=pb.Compare.EQUAL
            ).mod_revision = found.mod_revision
            request.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=raised))
            await connection.read(rpc.TXN, request)
        except aio.AioRpcError as error:
            raise store_error(error) from error


def _raised(found: pb.KeyValue) -> bytes | None:
    """Return what the origin of a fabric of an older format is to be; None for one of ours."""
    facts = json.loads(found.value)
    if facts.get("data_format", UNNAMED) == DATA_FORMAT:
        return None
    at = facts.get("at", found.mod_revision)
    return json.dumps(facts | {"data_format": DATA_FORMAT, "at": at}).encode()


def begun(revision: int, at: int = 0) -> bytes:
    """Return what says that a fabric is here, which counted `revision` when etcd counted `at`.

    Without `at`, that is when it was written.
    """
    facts = {"format": _FORMAT, "data_format": DATA_FORMAT, "revision": revision}
    return json.dumps(facts | ({"at": at} if at else {})).encode()


def layout_of(prefix: str, found: pb.KeyValue) -> Layout:
    """Return the layout that the origin of a fabric tells.

    Raises OtherFormat, and StoreRefused for a part of a fabric or another program's key.
    """
    try:
        facts = json.loads(found.value)
        if facts["format"] == RESTORING:
            raise StoreRefused(
                f"the restore into {prefix}/ was cut off; repeat `infrafabric store restore`"
            )
        if facts["format"] != _FORMAT:
            raise OtherFormat(
                f"the fabric under {prefix}/ in etcd has keys of format {facts['format']}, and "
                f"this release knows format {_FORMAT}; start the release that wrote them, or a "
                "newer one"
            )
        check_data_format(f"the fabric under {prefix}/ in etcd", facts.get("data_format", UNNAMED))
        at = int(facts.get("at", found.mod_revision))
        return Layout(prefix, at - int(facts["revision"]), found.mod_revision)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreRefused(
            f"{found.key.decode()} in etcd is not what a fabric begins with: is the prefix "
            "another's?"
        ) from error


def ended(layout: Layout, found: Iterable[pb.KeyValue]) -> StoreRefused:
    """Return why a store cannot go on: its origin is `found` now, and not what it was."""
    try:
        for origin in found:
            layout_of(layout.prefix, origin)
    except StoreRefused as error:
        return error
    return StoreRefused(
        f"the fabric under {layout.prefix}/ in etcd was removed or begun anew while it was in use; "
        "start the server again"
    )


async def probe(connection: Connection, layout: Layout) -> None:
    """Have the cluster agree on a write that changes nothing. Raises StoreError.

    The write is in the list that is not chosen: it goes through the log and onto the disks of
    a majority, and a full quota refuses it.
    """
    request = pb.TxnRequest()
    request.compare.add(
        key=layout.probe, target=pb.Compare.VERSION, result=pb.Compare.LESS
    ).version = 0
    request.success.add().request_put.CopyFrom(pb.PutRequest(key=layout.probe, value=b"?"))
    try:
        await connection.read(rpc.TXN, request)
    except aio.AioRpcError as error:
        raise store_error(error) from error


async def compact(connection: Connection, layout: Layout, revision: int) -> None:
    """Forget what is before the port's `revision`. Raises StoreError."""
    # One less than the port says: see Watcher on what etcd does at the revision itself.
    request = pb.CompactionRequest(revision=layout.etcd(revision) - 1, physical=True)
    if request.revision < 1:
        return
    try:
        await connection.read(rpc.COMPACT, request)
    except aio.AioRpcError as error:
        # Somebody else, or an earlier attempt, has been further.
        if verdict(error) is not Verdict.COMPACTED:
            raise store_error(error) from error


async def newest_batch(connection: Connection, layout: Layout) -> int:
    """Return the port's revision of the newest batch that changed something. Raises StoreError.

    Only ends of leases, restores and other programs change keys without a batch.
    """
    return layout.port(_newest(await _lanes(connection, layout)))


async def sweep_lanes(connection: Connection, layout: Layout, revision: int) -> None:
    """Delete the keys of lanes that were not used since the port's `revision`.

    Their processes are gone, or idle: then they begin again without it. The one that was used last
    stays: see `newest_batch`. Raises StoreError.
    """
    lanes = await _lanes(connection, layout)
    limit = min(layout.etcd(revision), _newest(lanes) - 1)
    idle = [kv for kv in lanes if kv.mod_revision <= limit]
    if not idle:
        return
    request = pb.TxnRequest()
    for kv in idle[:_SWEEP]:
        request.compare.add(
            key=kv.key, target=pb.Compare.MOD, result=pb.Compare.EQUAL
        ).mod_revision = kv.mod_revision
        request.success.add().request_delete_range.key = kv.key
    try:
        await connection.read(rpc.TXN, request)
    except aio.AioRpcError as error:
        raise store_error(error) from error


async def _lanes(connection: Connection, layout: Layout) -> Sequence[pb.KeyValue]:
    # A few for each process that wrote something within the time for which history is kept.
    request = pb.RangeRequest(key=layout.lanes, range_end=layout.lanes[:-1] + b"0", keys_only=True)
    try:
        return (await connection.read(rpc.RANGE, request)).kvs
    except aio.AioRpcError as error:
        raise store_error(error) from error


def _newest(lanes: Sequence[pb.KeyValue]) -> int:
    return max((kv.mod_revision for kv in lanes), default=0)


class Marks:
    """Helps watches of all keys to revisions at which nothing of this fabric changed.

    Ranges, and transactions that change nothing, are answered with the cluster's newest
    revision. When another fabric made that one, no watch would come to it, and who waits for the
    views to hold it would wait for ever: so something of ours is written after it. Asking etcd how
    far a watch is would need no write, but before 3.4.25 and 3.5.8 it names revisions whose events
    are still to come, and before 3.4.31 and 3.5.13 it may not answer.

    Args:
        connection: to the cluster.
        layout: of the fabric's keys.
        watcher: knows how far the watches are.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        watcher: Watcher,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._watcher = watcher
        self._sleep = sleep
        self._wanted = 0
        self._some = asyncio.Event()
        self._refused = asyncio.Event()
        watcher.on_begin(self._some.set)
        self._logger = structlog.get_logger(__name__)

    def want(self, revision: int) -> None:
        """Take notice that somebody was told of `revision`, which may not be ours."""
        self._wanted = max(self._wanted, revision)
        if self._needed:
            self._some.set()

    async def reached(self, revision: int) -> bool:
        """Return True when watches of all keys are at `revision`; False if no mark can be written.

        Raises StoreClosed, or StoreUnavailable when the watches have ended for another reason.
        """
        self.want(revision)
        reaching = asyncio.create_task(self._watcher.reaches(revision))
        refused = asyncio.create_task(self._refused.wait())
        try:
            await asyncio.wait((reaching, refused), return_when=asyncio.FIRST_COMPLETED)
            if reaching.done():
                reaching.result()
                return True
            return False
        finally:
            reaching.cancel()
            refused.cancel()

    async def run(self) -> None:
        """Write marks where they are needed, until cancelled. Raises StoreClosed."""
        while True:
            await self._some.wait()
            self._some.clear()
            await self._sleep(_QUIET)
            while self._needed and not await self._write():
                await self._sleep(_REFUSED)
            self._refused.clear()
            await self._sleep(_BETWEEN)

    @property
    def _needed(self) -> bool:
        reached = self._watcher.reached
        return reached is not None and reached < self._wanted

    async def _write(self) -> bool:
        try:
            await self._connection.read(rpc.PUT, pb.PutRequest(key=self._layout.mark, value=b""))
        except aio.AioRpcError as error:
            reason = store_error(error)
        except StoreError as error:
            if self._connection.closed:
                raise
            reason = error
        else:
            return True
        if not self._refused.is_set():
            self._logger.warning("etcd_mark_failed", reason=str(reason))
            self._refused.set()
        return False
