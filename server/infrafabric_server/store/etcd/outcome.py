"""How a batch ended whose answer got lost: read back, never sent again on a guess."""

from collections.abc import Sequence
from dataclasses import replace

from grpc import aio

from infrafabric_server.store.etcd import rpc
from infrafabric_server.store.etcd.connection import Connection
from infrafabric_server.store.etcd.encoding import Lane
from infrafabric_server.store.etcd.errors import Verdict, store_error, verdict
from infrafabric_server.store.etcd.layout import Layout
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import Get, KeyValue, Put, StoreUnavailable
from infrafabric_server.store.transactions import Answer, Request, Table, Txn

# Keys that are read in one request: within etcd's default of 128 operations.
_KEYS = 100


async def settle(connection: Connection, lane: Lane, deadline: float) -> int:
    """Return etcd's revision at which the lane's last batch was applied, or 0.

    0 says that it changed nothing and never will: then it can be sent again. Raises
    StoreUnavailable when that cannot be found out before `deadline`.
    """
    request = pb.TxnRequest()
    compare = request.compare.add(key=lane.key, target=pb.Compare.VALUE, result=pb.Compare.EQUAL)
    compare.value = lane.evidence
    request.success.add().request_range.key = lane.key
    # Whatever is still on its way compares when the lane's key last changed. Changing it again,
    # if the answer to this gets lost as well, does no harm.
    fence = request.failure.add().request_put
    fence.key, fence.value = lane.key, lane.fence
    pause = connection.pauses()
    while True:
        try:
            response = await connection.call(rpc.TXN, request)
        except aio.AioRpcError as error:
            waiting = verdict(error) in (Verdict.UNKNOWN, Verdict.AGAIN)
            if not waiting or connection.late(deadline):
                raise StoreUnavailable(
                    f"a transaction may or may not have been applied: {store_error(error)}"
                ) from error
            await pause()
            continue
        if not response.succeeded:
            lane.changed = response.header.revision
            return 0
        lane.changed = response.responses[0].response_range.kvs[0].mod_revision
        return lane.changed


async def decided(
    connection: Connection, layout: Layout, requests: Sequence[Request], revision: int
) -> list[Answer]:
    """Return how each member of a batch ended that was applied at etcd's `revision`.

    Their compares were decided on the state before it, which is read. Raises
    StoreUnavailable when it cannot be read any more.
    """
    keys = {compare.key for request in requests for compare in request.compares}
    keys |= {op.key for request in requests for op in request.ops if isinstance(op, Get)}
    try:
        before = await _state(connection, layout, sorted(keys), revision - 1)
    except aio.AioRpcError as error:
        raise StoreUnavailable(
            f"transactions were applied, but how cannot be read any more: {store_error(error)}"
        ) from error
    return [
        _decide(before, layout.port(revision - 1), layout.port(revision), request)
        for request in requests
    ]


def _decide(before: Sequence[KeyValue], old: int, new: int, request: Request) -> Answer:
    # It was applied, so the leases that it used were alive.
    leases = {op.lease for op in request.ops if isinstance(op, Put)}
    table = Table(old, before, leases)
    if isinstance(request, Txn):
        return replace(table.run(request).result, revision=new)
    result = table.fold(request).result
    members = tuple(replace(member, revision=new) for member in result.members)
    return replace(result, revision=new, members=members)


async def _state(
    connection: Connection, layout: Layout, keys: Sequence[str], revision: int
) -> list[KeyValue]:
    found: list[KeyValue] = []
    for start in range(0, len(keys), _KEYS):
        request = pb.TxnRequest()
        for key in keys[start : start + _KEYS]:
            read = request.success.add().request_range
            read.key, read.revision = layout.key(key), revision
        response = await connection.read(rpc.TXN, request)
        found += [
            layout.kv(kv) for answer in response.responses for kv in answer.response_range.kvs
        ]
    return found
