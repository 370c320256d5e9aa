"""What the port of the store takes: its limits, and what breaks them by name."""

from collections.abc import Sequence
from itertools import chain

from infrafabric_server.store.protocol import Compare, Delete, Field, Get, Member, Op, Put
from infrafabric_server.store.transactions import Fold, Txn

# The limits of the port. An adapter may number the changes of a revision in 13 bits.
MAX_OPERATIONS = 8192
# Nested transactions share etcd's default of 128 operations: half for the members, and half
# for the widest of them and for the batch that the fold is sent in.
MAX_MEMBERS = 64
MAX_VALUE_BYTES = 64 * 1024 * 1024
MAX_RANGE = 10_000
MIN_TTL = 0.1
# Finding a member of an enum in its class takes a tenth of a microsecond.
_VALUE = Field.VALUE


def checked(compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op]) -> Txn:
    """Return the transaction, copied. Raises ValueError naming the limit that it breaks."""
    txn = Txn(tuple(compares), tuple(success), tuple(failure))
    _check_count(len(txn.compares) + len(txn.success) + len(txn.failure))
    _check_size(_checked_size(txn))
    return txn


def checked_fold(
    guard: Sequence[Compare], writes: Sequence[Put | Delete], members: Sequence[Member]
) -> Fold:
    """Return the fold, copied. Raises ValueError naming the limit or the key that breaks a rule."""
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"a fold has at most {MAX_MEMBERS} members, not {len(members)}")
    head = Txn(tuple(guard), tuple(writes), ())
    txns = tuple(Txn(tuple(m.compares), tuple(m.success), tuple(m.failure)) for m in members)
    parts = (head, *txns)
    _check_count(sum(len(txn.compares) + len(txn.success) + len(txn.failure) for txn in parts))
    _check_size(sum(map(_checked_size, parts)))
    fold = Fold(head.compares, tuple(writes), txns)
    _check_apart(fold)
    return fold


def check_key(key: str) -> None:
    """Raise ValueError unless `key` can be stored."""
    if not key:
        raise ValueError("a key is not empty")
    _text_size("a key", key)


def check_range(prefix: str, after: str, limit: int) -> None:
    """Raise ValueError unless a range can be asked for like this."""
    _text_size("a prefix", prefix)
    _text_size("a key", after)
    if not 1 <= limit <= MAX_RANGE:
        raise ValueError(f"the limit of a range is 1 to {MAX_RANGE}, not {limit}")


def check_watch(prefix: str, start_revision: int) -> None:
    """Raise ValueError unless a watch can begin like this."""
    _text_size("a prefix", prefix)
    if start_revision < 1:
        raise ValueError(f"a watch starts at revision 1 or later, not {start_revision}")


def check_ttl(ttl: float) -> None:
    """Raise ValueError unless a lease can live for `ttl` seconds."""
    if not MIN_TTL <= ttl < float("inf"):
        raise ValueError(f"a lease lives for at least {MIN_TTL} seconds, not {ttl}")


def check_revision(revision: int, newest: int) -> None:
    """Raise ValueError for a revision that is still to come."""
    if not 0 <= revision <= newest:
        raise ValueError(f"the newest revision is {newest}; {revision} does not exist")


class Touched:
    """The keys that the parts of a fold read and change."""

    def __init__(self) -> None:
        self._read: set[str] = set()
        self._changed: set[str] = set()

    def add(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op]
    ) -> str | None:
        """Add a part, unless a key that it or another one changes is touched by both.

        Returns that key, or None when the part was added.
        """
        read = {compare.key for compare in compares}
        changed: set[str] = set()
        for op in chain(success, failure):
            (read if isinstance(op, Get) else changed).add(op.key)
        for one, other in (
            (self._changed, changed),
            (self._changed, read),
            (self._read, changed),
        ):
            if not one.isdisjoint(other):
                return min(one & other)
        self._read |= read
        self._changed |= changed
        return None


def _check_count(count: int) -> None:
    if count > MAX_OPERATIONS:
        raise ValueError(
            f"a transaction has at most {MAX_OPERATIONS} compares and operations, not {count}"
        )


def _check_size(size: int) -> None:
    if size > MAX_VALUE_BYTES:
        raise ValueError(
            f"the values of a transaction have at most {MAX_VALUE_BYTES} bytes, not {size}"
        )


def _check_apart(fold: Fold) -> None:
    touched = Touched()
    touched.add((), fold.writes, ())
    for member in fold.members:
        shared = touched.add(member.compares, member.success, member.failure)
        if shared is not None:
            raise ValueError(f"a part of a fold changes {shared}, which another part touches")


def _checked_size(txn: Txn) -> int:
    for compare in txn.compares:
        check_key(compare.key)
        if isinstance(compare.operand, str) is not (compare.field is _VALUE):
            raise ValueError(f"the operand for {compare.field.value} of {compare.key} has its type")
    return _checked_list(txn.success) + _checked_list(txn.failure)


def _checked_list(ops: Sequence[Op]) -> int:
    if not ops:
        return 0
    size = 0
    changed: set[str] = set()
    for op in ops:
        check_key(op.key)
        if isinstance(op, Get):
            continue
        if op.key in changed:
            raise ValueError(f"a transaction changes a key once, but {op.key} comes twice")
        changed.add(op.key)
        if isinstance(op, Put):
            size += _text_size("the value of ", op.value, op.key)
            if op.lease < 0:
                raise ValueError(f"the lease of {op.key} is 0 or the id of a lease")
    return size


def _text_size(what: str, text: str, which: str = "") -> int:
    if "\0" in text:
        raise ValueError(f"{what}{which} has no NUL character")
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what}{which} is not text that UTF-8 can carry: {error.reason}"
        ) from error
