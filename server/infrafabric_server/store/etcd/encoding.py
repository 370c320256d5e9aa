"""Transactions as etcd takes them, and its answers.

A batch is one transaction of etcd: it compares that its lane is as we left it and that the fabric
is as we opened it, in the format that we know, and its success list holds a nested transaction for
each member. The compares of all of them are decided on the state before the batch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from infrafabric_server.store.etcd.layout import Layout
from infrafabric_server.store.etcd.planning import negated
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Field,
    FoldResult,
    Get,
    KeyValue,
    Op,
    Put,
    Relation,
    TxnResult,
)
from infrafabric_server.store.transactions import Answer, Fold, Request, Txn

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    Ops = RepeatedCompositeFieldContainer[pb.RequestOp]

_RELATIONS = {
    Relation.EQUAL: pb.Compare.EQUAL,
    Relation.NOT_EQUAL: pb.Compare.NOT_EQUAL,
    Relation.LESS: pb.Compare.LESS,
    Relation.GREATER: pb.Compare.GREATER,
}
# Finding a member of an enum in its class takes a tenth of a microsecond, several times for
# each transaction.
_VALUE = Field.VALUE
_MOD_REVISION = Field.MOD_REVISION
_EQUAL = Relation.EQUAL


class Lane:
    """One sequence of batches, each sent when the one before is settled.

    The lane has a key in etcd. Every batch compares when that key last changed, and what
    changes anything writes the batch's number to it: so a batch cannot be carried out twice,
    and whether and at which revision it was can be read later.

    Attributes:
        key: of the lane.
        changed: etcd's revision at which the key last changed; 0 when it is not there.
        number: of the last batch that was sent.
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.changed = 0
        self.number = 0

    @property
    def evidence(self) -> bytes:
        """What the last batch that was sent writes to the key of the lane."""
        return str(self.number).encode()

    @property
    def fence(self) -> bytes:
        """What is written there to keep the last batch from being carried out any more."""
        return f"{self.number} fenced".encode()


def batch_request(layout: Layout, lane: Lane, requests: Sequence[Request]) -> pb.TxnRequest:
    """Return the transaction of etcd for a batch.

    A member alone leaves its evidence only where it changes something, so that one which
    changes nothing takes no revision. Several leave it together.
    """
    request = pb.TxnRequest()
    compare = request.compare.add(key=lane.key, target=pb.Compare.MOD, result=pb.Compare.EQUAL)
    compare.mod_revision = lane.changed
    origin = request.compare.add(key=layout.origin, target=pb.Compare.MOD, result=pb.Compare.EQUAL)
    origin.mod_revision = layout.settled
    request.failure.add().request_range.key = lane.key
    request.failure.add().request_range.key = layout.origin
    alone = len(requests) == 1
    for each in requests:
        nested, own = request.success.add().request_txn, lane if alone else None
        if isinstance(each, Txn):
            _fill(nested, layout, each, own)
        else:
            _fill_fold(nested, layout, each, own)
    if not alone:
        _put_evidence(request.success, lane)
    elif any(isinstance(op, Put) for op in requests[0].ops):
        # etcd counts towards its quota what a transaction puts by itself, in either list, and
        # nothing of what those nested in it put: without this it would let them all through, from
        # 3.5.5 on without end. A mark does no harm where the lane is not as we left it.
        request.failure.add().request_put.key = layout.mark
    return request


def batch_answers(
    layout: Layout, response: pb.TxnResponse, requests: Sequence[Request]
) -> list[Answer]:
    """Return the answers to the members of a batch that was carried out."""
    revision = layout.port(response.header.revision)
    # A batch of several has the answer to its evidence as well.
    return [
        _result(layout, answer.response_txn, each, revision)
        if isinstance(each, Txn)
        else _fold_result(layout, answer.response_txn, each, revision)
        for answer, each in zip(response.responses, requests, strict=False)
    ]


def left_evidence(response: pb.TxnResponse, requests: Sequence[Request]) -> bool:
    """Tell whether a batch that was carried out wrote to the key of its lane."""
    if len(requests) > 1:
        return True
    answer, request = response.responses[0].response_txn, requests[0]
    if isinstance(request, Fold):
        return _chosen(answer, request.guard)[0]
    succeeded, chosen = _chosen(answer, request.compares)
    ops = request.success if succeeded else request.failure
    if any(isinstance(op, Put) for op in ops):
        return True
    if not any(isinstance(op, Delete) for op in ops):
        return False
    # Nothing was deleted when all keys were absent.
    return not chosen.responses[-1].response_txn.succeeded


def _fill(target: pb.TxnRequest, layout: Layout, txn: Txn, lane: Lane | None) -> None:
    target = _fill_compares(target, layout, txn.compares, txn.failure, lane)
    _fill_ops(target.success, layout, txn.success, lane)


def _fill_fold(target: pb.TxnRequest, layout: Layout, fold: Fold, lane: Lane | None) -> None:
    found = [Get(compare.key) for compare in fold.guard]
    target = _fill_compares(target, layout, fold.guard, found, None)
    for member in fold.members:
        _fill(target.success.add().request_txn, layout, member, None)
    _fill_ops(target.success, layout, fold.writes, None)
    if lane is not None:
        _put_evidence(target.success, lane)


def _fill_compares(
    target: pb.TxnRequest,
    layout: Layout,
    compares: Sequence[Compare],
    failure: Sequence[Op],
    lane: Lane | None,
) -> pb.TxnRequest:
    """Ask for `compares`, and fill `failure` in wherever one of them does not hold.

    Returns the transaction whose success list is for when all hold.
    """
    # One with nothing in it has to be there, too.
    target.SetInParent()
    valued = [compare for compare in compares if compare.field is _VALUE]
    for compare in valued:
        for negative in negated(compare):
            # All that a missing key, as an empty text, passes is said by its opposite, which
            # etcd always denies for a missing key.
            _fill_compare(target.compare.add(), layout, negative)
            _fill_ops(target.success, layout, failure, lane)
            target = target.failure.add().request_txn
            target.SetInParent()
    for compare in compares:
        if not valued or not negated(compare):
            _fill_compare(target.compare.add(), layout, compare)
    if failure:
        _fill_ops(target.failure, layout, failure, lane)
    return target


def _fill_compare(target: pb.Compare, layout: Layout, compare: Compare) -> None:
    target.key = layout.key(compare.key)
    # What a message has anyway is not set, and an enum is no cheap key of a dictionary.
    if compare.relation is not _EQUAL:
        target.result = _RELATIONS[compare.relation]
    operand = compare.operand
    if isinstance(operand, str):
        target.target = pb.Compare.VALUE
        target.value = operand.encode()
    elif compare.field is _MOD_REVISION:
        target.target = pb.Compare.MOD
        target.mod_revision = layout.etcd(operand) if operand > 0 else operand
    elif compare.field is Field.CREATE_REVISION:
        target.target = pb.Compare.CREATE
        target.create_revision = layout.etcd(operand) if operand > 0 else operand
    elif compare.field is Field.LEASE:
        target.target = pb.Compare.LEASE
        target.lease = operand
    else:
        target.target = pb.Compare.VERSION
        target.version = operand


def _fill_ops(target: "Ops", layout: Layout, ops: Sequence[Op], lane: Lane | None) -> None:
    # Gets come first: they see what was before the transaction's own changes.
    puts: list[Put] = []
    deletes: list[bytes] = []
    for op in ops:
        if isinstance(op, Put):
            puts.append(op)
        elif isinstance(op, Delete):
            deletes.append(layout.key(op.key))
        else:
            target.add().request_range.key = layout.key(op.key)
    for op in puts:
        put = target.add().request_put
        put.key = layout.key(op.key)
        put.value = op.value.encode()
        if op.lease:
            put.lease = op.lease
    if deletes and lane is not None and not puts:
        nested = target.add().request_txn
        for key in deletes:
            compare = nested.compare.add(key=key, target=pb.Compare.CREATE)
            compare.create_revision = 0
        target = nested.failure
    for key in deletes:
        target.add().request_delete_range.key = key
    if lane is not None and (puts or deletes):
        _put_evidence(target, lane)


def _put_evidence(target: "Ops", lane: Lane) -> None:
    put = target.add().request_put
    put.key, put.value = lane.key, lane.evidence


def _chosen(answer: pb.TxnResponse, compares: Sequence[Compare]) -> tuple[bool, pb.TxnResponse]:
    for compare in compares:
        if compare.field is not _VALUE:
            continue
        for _ in negated(compare):
            if answer.succeeded:
                return False, answer
            answer = answer.responses[0].response_txn
    return answer.succeeded, answer


def _result(layout: Layout, answer: pb.TxnResponse, txn: Txn, revision: int) -> TxnResult:
    succeeded, chosen = _chosen(answer, txn.compares)
    return TxnResult(succeeded, revision, _gets(layout, chosen.responses))


def _fold_result(layout: Layout, answer: pb.TxnResponse, fold: Fold, revision: int) -> FoldResult:
    succeeded, chosen = _chosen(answer, fold.guard)
    if not succeeded:
        return FoldResult(False, revision, found=_gets(layout, chosen.responses))
    members = tuple(
        _result(layout, each.response_txn, member, revision)
        for each, member in zip(chosen.responses, fold.members, strict=False)
    )
    return FoldResult(True, revision, members)


def _gets(
    layout: Layout, responses: "RepeatedCompositeFieldContainer[pb.ResponseOp]"
) -> tuple[KeyValue | None, ...]:
    if not responses or not responses[0].HasField("response_range"):
        return ()
    gets: list[KeyValue | None] = []
    for response in responses:
        if not response.HasField("response_range"):
            break
        kvs = response.response_range.kvs
        gets.append(layout.kv(kvs[0]) if kvs else None)
    return tuple(gets)
