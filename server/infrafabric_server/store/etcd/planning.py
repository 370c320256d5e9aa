"""Which transactions go together: pure rules, from what was measured of etcd.

In one transaction of etcd, the outer operations and those of the widest nested transaction
count together against `--max-txn-ops`, a key may be written once, and every compare sees the
state before. So a member must not write what another one reads or writes.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from infrafabric_server.store.protocol import Compare, Delete, Field, Op, Put, Relation
from infrafabric_server.store.transactions import Fold, Request, Txn

# Bytes of a key, a compare or an operation beside its texts: lengths, numbers, prefixes.
_OVERHEAD = 128


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a batch of several may be.

    `operations` is etcd's --max-txn-ops, `size` in bytes is well within its
    --max-request-bytes of 1.5 MiB, `members` bounds how long one answer takes to read.
    """

    members: int = 64
    operations: int = 128
    size: int = 1024 * 1024
    # How many that wait are looked at for one batch.
    lookahead: int = 256


# Not frozen, though nobody changes one: that would cost a microsecond for each transaction.
@dataclass(slots=True)
class Footprint:
    """What is asked for, the keys that it reads and writes, and what it counts in a batch."""

    request: Request
    reads: AbstractSet[str]
    writes: AbstractSet[str]
    width: int
    size: int


def footprint(request: Request) -> Footprint:
    """Return what `request` takes as a member of a batch."""
    reads: set[str] = set()
    writes: set[str] = set()
    if isinstance(request, Txn):
        width, size = _measure(request, reads, writes)
    else:
        width, size = _measure_fold(request, reads, writes)
    return Footprint(request, reads, writes, width, size)


def plan(waiting: Iterable[Footprint], limits: Limits) -> list[int]:
    """Return the places of those that make the next batch; the first one always does.

    Nobody goes before an earlier one that touches the same keys, and as the first always
    goes, nobody waits for ever. One that is too large for any batch goes alone.
    """
    chosen: list[int] = []
    read: set[str] = set()
    written: set[str] = set()
    widest = size = 0
    for place, member in enumerate(waiting):
        if place >= limits.lookahead or len(chosen) >= limits.members:
            break
        free = member.writes.isdisjoint(written) and member.writes.isdisjoint(read)
        free = free and member.reads.isdisjoint(written)
        width = max(widest, member.width)
        # The members, the evidence, and this one.
        fits = len(chosen) + 2 + width <= limits.operations and size + member.size <= limits.size
        if place == 0 or (free and fits):
            chosen.append(place)
            widest, size = width, size + member.size
        read |= member.reads
        written |= member.writes
    return chosen


def _negation(relation: Relation, *, empty: bool) -> tuple[Relation, ...]:
    # Those that "" passes; a missing key passes them too, but etcd denies it every compare.
    match relation, empty:
        case Relation.EQUAL, True:
            return (Relation.GREATER,)
        case Relation.NOT_EQUAL, False:
            return (Relation.EQUAL,)
        case Relation.LESS, False:
            return (Relation.EQUAL, Relation.GREATER)
        case _:
            return ()


def negated(compare: Compare) -> tuple[Compare, ...]:
    """Return what must all be false for a compare of a value that a missing key passes.

    Empty for every other compare, which etcd decides as it is.
    """
    if compare.field is not Field.VALUE:
        return ()
    relations = _negation(compare.relation, empty=compare.operand == "")
    return tuple(Compare(compare.key, Field.VALUE, compare.operand, each) for each in relations)


def _measure(txn: Txn, reads: set[str], writes: set[str]) -> tuple[int, int]:
    # Operations that count together with those around it, and bytes.
    nested, size = _look(txn.compares, reads)
    size += _add(txn.success, reads, writes)
    if txn.failure:
        size += _add(txn.failure, reads, writes) * (1 + nested)
    # The evidence of the batch is one more, and a list that only deletes lies a level deeper.
    width = max(len(txn.compares), len(txn.success) + 1, len(txn.failure) + 1) + 1
    return width + nested * (len(txn.failure) + 1), size


def _measure_fold(fold: Fold, reads: set[str], writes: set[str]) -> tuple[int, int]:
    nested, size = _look(fold.guard, reads)
    size += size * nested + _add(fold.writes, reads, writes)
    widest = 0
    for member in fold.members:
        width, bytes_ = _measure(member, reads, writes)
        widest, size = max(widest, width), size + bytes_ + _OVERHEAD
    # Where the guard does not hold, its keys are read.
    width = max(len(fold.guard), len(fold.writes) + len(fold.members) + 1) + widest + 1
    return width + nested * (len(fold.guard) + 1), size


def _look(compares: Sequence[Compare], reads: set[str]) -> tuple[int, int]:
    # How many of them are asked as their opposite, a level deeper each, and bytes.
    nested = size = 0
    for compare in compares:
        reads.add(compare.key)
        size += _OVERHEAD + _size(compare.key)
        if isinstance(compare.operand, str):
            nested += len(negated(compare))
            size += _size(compare.operand)
    return nested, size


def _add(ops: Sequence[Op], reads: set[str], writes: set[str]) -> int:
    size = 0
    for op in ops:
        size += _OVERHEAD + _size(op.key)
        if isinstance(op, Put):
            writes.add(op.key)
            size += _size(op.value)
        elif isinstance(op, Delete):
            writes.add(op.key)
            # Compared as well, when it may find nothing.
            size += _OVERHEAD + _size(op.key)
        else:
            reads.add(op.key)
    return size


def _size(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)
