"""Reading a whole fabric at one revision, and making one of what was read elsewhere.

No key can be given a revision in etcd, so what is restored gets new ones, all later than the
last one of the fabric that it comes from. What is kept is their order: every revision at which a
key was made, or was last changed, is written anew as one transaction, oldest first. Keys that
shared a revision share one again.
"""

import json
import secrets
from array import array
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from itertools import groupby

from grpc import aio

from infrafabric_server.clock import SystemClock
from infrafabric_server.store.etcd import rpc
from infrafabric_server.store.etcd.address import Access, EtcdAddress
from infrafabric_server.store.etcd.connection import Connection, RequestT, ResponseT
from infrafabric_server.store.etcd.errors import Verdict, store_error, verdict
from infrafabric_server.store.etcd.layout import Layout, Span
from infrafabric_server.store.etcd.upkeep import RESTORING, begun, layout_of
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import KeyValue, StoreRefused

# Seconds for an answer of one member, and for one of any.
_ATTEMPT = 5.0
_PATIENCE = 30.0
# Keys in one answer: pieces of modules have 0.7 MB each. More make a dump of many small keys hardly
# faster.
_PAGE = 100


class Fabric:
    """The fabric under a prefix of etcd, for reading all of it or restoring into it.

    Args:
        address: the members and the prefix.
        access: what is shown to them.
    """

    def __init__(self, address: EtcdAddress, access: Access) -> None:
        self.address = address
        self._connection = Connection(address, access, SystemClock(), _ATTEMPT, _PATIENCE)
        self._prefix = address.prefix
        self._empty = Layout(self._prefix)
        self._token = b""

    async def revision(self) -> int:
        """Return the newest revision, as the fabric counts. Raises StoreRefused without one."""
        origin = await self._origin()
        if not origin.kvs:
            raise StoreRefused(f"there is no fabric at {self.address}")
        return layout_of(self._prefix, origin.kvs[0]).port(origin.header.revision)

    async def kvs(self, revision: int) -> AsyncGenerator[KeyValue, None]:
        """Yield every key as it was at `revision`, in order. Raises StoreRefused."""
        origin = await self._origin()
        layout = layout_of(self._prefix, origin.kvs[0])
        span, more = layout.under(""), True
        while more:
            page = await self._range(
                pb.RangeRequest(
                    key=span.start,
                    range_end=span.end,
                    limit=_PAGE,
                    revision=layout.etcd(revision),
                )
            )
            for found in page.kvs:
                yield layout.kv(found)
            more = page.more
            if page.kvs:
                span = Span(page.kvs[-1].key + b"\0", span.end)

    async def value(self, key: str) -> str | None:
        """Return the value of one key; None without it. Raises OtherFormat."""
        for origin in (await self._origin()).kvs:
            layout_of(self._prefix, origin)
        found = (await self._range(pb.RangeRequest(key=self._empty.key(key)))).kvs
        return found[0].value.decode() if found else None

    async def in_use(self, prefixes: Sequence[str]) -> str:
        """Return a key under one of `prefixes` that lives on a lease; "" without one."""
        for prefix in prefixes:
            span = self._empty.under(prefix)
            page = await self._range(
                pb.RangeRequest(key=span.start, range_end=span.end, limit=_PAGE, keys_only=True)
            )
            for found in page.kvs:
                if found.lease:
                    return self._empty.text(found.key) or ""
        return ""

    async def is_empty(self) -> bool:
        """Tell whether nothing is under the prefix, but perhaps the part of a cut restore."""
        origin = await self._origin()
        if origin.kvs:
            return _is_restoring(origin.kvs[0].value)
        span = self._empty.everything
        found = pb.RangeRequest(key=span.start, range_end=span.end, count_only=True)
        return not (await self._range(found)).count

    async def was_cut_off(self) -> bool:
        """Tell whether a part of a fabric is there, as a restore was cut off."""
        return any(_is_restoring(found.value) for found in (await self._origin()).kvs)

    async def begin(self, revision: int) -> "Renumbering":
        """Take the prefix, and return what counts on from `revision`.

        What a cut restore left there is deleted. No server begins a fabric there from now on.
        """
        token = secrets.token_hex(8)
        mark = json.dumps({"format": RESTORING, "token": token}).encode()
        origin = self._empty.origin
        span = self._empty.everything
        found = await self._origin()
        request = pb.TxnRequest()
        request.compare.add(
            key=origin, target=pb.Compare.MOD, result=pb.Compare.EQUAL
        ).mod_revision = found.kvs[0].mod_revision if found.kvs else 0
        await self._claim(request, mark)
        self._token = mark
        clearing = self._guarded()
        for part in (Span(span.start, origin), Span(origin + b"\0", span.end)):
            clearing.success.add().request_delete_range.CopyFrom(
                pb.DeleteRangeRequest(key=part.start, range_end=part.end)
            )
        answer = await self._written(clearing)
        return Renumbering(revision, answer.header.revision)

    async def put(self, kvs: Iterable[tuple[str, str]]) -> int:
        """Write keys at one revision; return what etcd counts then."""
        request = self._guarded()
        for key, value in kvs:
            request.success.add().request_put.CopyFrom(
                pb.PutRequest(key=self._empty.key(key), value=value.encode())
            )
        return (await self._written(request)).header.revision

    async def finish(self, numbers: "Renumbering") -> None:
        """Let servers use the fabric: all of it is there."""
        request = self._guarded()
        request.success.add().request_put.CopyFrom(
            pb.PutRequest(key=self._empty.origin, value=begun(numbers.revision, numbers.at))
        )
        await self._written(request)

    async def close(self) -> None:
        """End every call."""
        await self._connection.close()

    async def _claim(self, request: pb.TxnRequest, value: bytes) -> None:
        origin = self._empty.origin
        request.success.add().request_put.CopyFrom(pb.PutRequest(key=origin, value=value))
        request.failure.add().request_range.key = origin
        answer = await self._call(rpc.TXN, request)
        # When an answer got lost, the repeated request finds what it wrote the first time.
        if not answer.succeeded:
            found = answer.responses[0].response_range.kvs
            if not found or found[0].value != value:
                raise self._taken()

    def _taken(self) -> StoreRefused:
        return StoreRefused(f"somebody else began to use {self.address}; this restore was given up")

    def _guarded(self) -> pb.TxnRequest:
        request = pb.TxnRequest()
        compare = request.compare.add(
            key=self._empty.origin, target=pb.Compare.VALUE, result=pb.Compare.EQUAL
        )
        compare.value = self._token
        return request

    async def _origin(self) -> pb.RangeResponse:
        return await self._range(pb.RangeRequest(key=self._empty.origin))

    async def _range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        return await self._call(rpc.RANGE, request)

    async def _written(self, request: pb.TxnRequest) -> pb.TxnResponse:
        # Repeated when an answer got lost: the same keys are then written twice in a row.
        answer = await self._call(rpc.TXN, request)
        if not answer.succeeded:
            raise self._taken()
        return answer

    async def _call(self, method: rpc.Method[RequestT, ResponseT], request: RequestT) -> ResponseT:
        try:
            return await self._connection.read(method, request)
        except aio.AioRpcError as error:
            if verdict(error) is Verdict.COMPACTED:
                raise StoreRefused(
                    "etcd was compacted while the fabric was read; try again when it has less to do"
                ) from error
            raise store_error(error) from error


class Renumbering:
    """Which revisions of a fabric became which, in the order in which they were written.

    Args:
        revision: the last one of the fabric that it comes from.
        at: what etcd counted then.
    """

    def __init__(self, revision: int, at: int) -> None:
        self.revision = revision
        self.at = at
        self._old = array("q")
        self._new = array("q")

    def add(self, old: int, etcd: int) -> None:
        """Take note that what was changed at `old` was written at etcd's revision `etcd`."""
        self._old.append(old)
        self._new.append(etcd - self.at + self.revision)

    def __call__(self, old: int) -> int:
        """Return the new revision of the newest change that is not later than `old`."""
        place = bisect_right(self._old, old)
        return self._new[place - 1] if place else 0


def steps(keys: Iterable[tuple[int, KeyValue]]) -> Iterator[tuple[int, list[int]]]:
    """Yield each revision at which a key was made or last changed, oldest first.

    With it come the places of those keys. Only numbers are held, no keys and no values.
    """
    revisions, places = array("q"), array("q")
    for place, kv in keys:
        for revision in {kv.create_revision, kv.mod_revision}:
            revisions.append(revision)
            places.append(place)
    order = sorted(range(len(revisions)), key=lambda number: (revisions[number], places[number]))
    for revision, group in groupby(order, key=revisions.__getitem__):
        yield revision, [places[number] for number in group]


def _is_restoring(value: bytes) -> bool:
    try:
        facts = json.loads(value)
    except ValueError:
        return False
    return isinstance(facts, dict) and facts.get("format") == RESTORING
