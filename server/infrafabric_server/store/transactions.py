"""What a transaction means: the rules that the embedded adapters share, free of I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Event,
    Field,
    Get,
    KeyValue,
    LeaseNotFound,
    Op,
    Put,
    Relation,
    TxnResult,
    WatchBatch,
)

# The limits of the port. An adapter may number the changes of a revision in 13 bits.
MAX_OPERATIONS = 8192
MAX_VALUE_BYTES = 64 * 1024 * 1024
MAX_RANGE = 10_000
MIN_TTL = 0.1


@dataclass(frozen=True, slots=True)
class Txn:
    """A transaction that keeps the limits of the port; made by `checked`."""

    compares: Sequence[Compare]
    success: Sequence[Op]
    failure: Sequence[Op]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transaction did: the caller's answer, and the change that it made, if any."""

    result: TxnResult
    batch: WatchBatch | None = None


def checked(compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op]) -> Txn:
    """Return the transaction, copied. Raises ValueError naming the limit that it breaks."""
    txn = Txn(tuple(compares), tuple(success), tuple(failure))
    count = len(txn.compares) + len(txn.success) + len(txn.failure)
    if count > MAX_OPERATIONS:
        raise ValueError(
            f"a transaction has at most {MAX_OPERATIONS} compares and operations, not {count}"
        )
    for compare in txn.compares:
        check_key(compare.key)
        if isinstance(compare.operand, str) is not (compare.field is Field.VALUE):
            raise ValueError(f"the operand for {compare.field.value} of {compare.key} has its type")
    size = _checked_size(txn.success) + _checked_size(txn.failure)
    if size > MAX_VALUE_BYTES:
        raise ValueError(
            f"the values of a transaction have at most {MAX_VALUE_BYTES} bytes, not {size}"
        )
    return txn


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


def prefix_end(prefix: str) -> str | None:
    """Return the smallest text after all that start with `prefix`; None if there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = chr(ord(stem[-1]) + 1)
    # Surrogates are no characters: UTF-8 cannot carry them.
    return stem[:-1] + ("\ue000" if following == "\ud800" else following)


class Table:
    """Keys and leases, changed by one whole revision at a time.

    Args:
        revision: the newest one.
        entries: all keys of a store, or those which the commands to come look at.
        leases: the ids of those that are alive; the set itself is used, not a copy.
    """

    def __init__(self, revision: int, entries: Iterable[KeyValue], leases: set[int]) -> None:
        self.revision = revision
        self.entries = {entry.key: entry for entry in entries}
        self.leases = leases
        self._attached: dict[int, set[str]] = {}
        for entry in self.entries.values():
            self._attach(entry.lease, entry.key)

    def run(self, txn: Txn) -> Outcome:
        """Decide and apply `txn`. Raises LeaseNotFound, having changed nothing."""
        succeeded = all(_holds(compare, self.entries.get(compare.key)) for compare in txn.compares)
        ops = txn.success if succeeded else txn.failure
        dead = next((o.lease for o in ops if isinstance(o, Put) and not self._alive(o.lease)), 0)
        if dead:
            raise LeaseNotFound(f"lease {dead} expired or was revoked")
        gets = tuple(self.entries.get(op.key) for op in ops if isinstance(op, Get))
        batch = self._apply([op for op in ops if not isinstance(op, Get)])
        return Outcome(TxnResult(succeeded, self.revision, gets), batch)

    def revoke(self, lease: int) -> WatchBatch | None:
        """End `lease` and delete its keys."""
        self.leases.discard(lease)
        return self._apply([Delete(key) for key in self._attached.get(lease, ())])

    def _alive(self, lease: int) -> bool:
        return lease == 0 or lease in self.leases

    def _apply(self, ops: Iterable[Put | Delete]) -> WatchBatch | None:
        changes = [op for op in ops if isinstance(op, Put) or op.key in self.entries]
        if not changes:
            return None
        self.revision += 1
        changes.sort(key=lambda op: op.key)
        return WatchBatch(self.revision, tuple(self._change(op) for op in changes))

    def _change(self, op: Put | Delete) -> Event:
        old = self.entries.pop(op.key, None)
        if old is not None and old.lease:
            self._attached[old.lease].discard(op.key)
            if not self._attached[old.lease]:
                del self._attached[old.lease]
        if isinstance(op, Delete):
            return Event(op.key, None)
        new = KeyValue(
            key=op.key,
            value=op.value,
            create_revision=old.create_revision if old else self.revision,
            mod_revision=self.revision,
            version=old.version + 1 if old else 1,
            lease=op.lease,
        )
        self.entries[op.key] = new
        self._attach(op.lease, op.key)
        return Event(op.key, new)

    def _attach(self, lease: int, key: str) -> None:
        if lease:
            self._attached.setdefault(lease, set()).add(key)


def _holds(compare: Compare, entry: KeyValue | None) -> bool:
    missing: int | str = "" if compare.field is Field.VALUE else 0
    actual: int | str = missing if entry is None else getattr(entry, compare.field.value)
    match compare.relation:
        case Relation.EQUAL:
            return actual == compare.operand
        case Relation.NOT_EQUAL:
            return actual != compare.operand
        case Relation.LESS:
            return _sign(actual, compare.operand) < 0
        case Relation.GREATER:
            return _sign(actual, compare.operand) > 0


def _sign(left: int | str, right: int | str) -> int:
    # `checked` has seen to it that both are of one type.
    if isinstance(left, str):
        return (left > str(right)) - (left < str(right))
    return (left > int(right)) - (left < int(right))


def _checked_size(ops: Sequence[Op]) -> int:
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
            size += _text_size(f"the value of {op.key}", op.value)
            if op.lease < 0:
                raise ValueError(f"the lease of {op.key} is 0 or the id of a lease")
    return size


def _text_size(what: str, text: str) -> int:
    if "\0" in text:
        raise ValueError(f"{what} has no NUL character")
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} is not text that UTF-8 can carry: {error.reason}") from error
