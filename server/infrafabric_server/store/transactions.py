"""What a transaction means: the rules that the embedded adapters share, free of I/O."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Event,
    Field,
    FoldResult,
    Get,
    KeyValue,
    LeaseNotFound,
    Member,
    Op,
    Put,
    Relation,
    TxnResult,
    WatchBatch,
)

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


# Not frozen, though nobody changes one: that would cost a third of a microsecond for each.
@dataclass(slots=True)
class Txn:
    """A transaction that keeps the limits of the port; made by `checked`."""

    compares: Sequence[Compare]
    success: Sequence[Op]
    failure: Sequence[Op]

    @property
    def ops(self) -> Iterator[Op]:
        """All operations that may be applied, whatever the compares say."""
        return chain(self.success, self.failure)


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold that keeps the limits of the port; made by `checked_fold`."""

    guard: Sequence[Compare]
    writes: Sequence[Put | Delete]
    members: Sequence[Txn]

    @property
    def compares(self) -> Iterator[Compare]:
        """All compares, those of the members as well."""
        return chain(self.guard, *(member.compares for member in self.members))

    @property
    def ops(self) -> Iterator[Op]:
        """All operations that may be applied, whatever the compares say."""
        return chain(self.writes, *(member.ops for member in self.members))


# What is applied as one, and how it is answered.
Request = Txn | Fold
Answer = TxnResult | FoldResult


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transaction did: the caller's answer, and the change that it made, if any."""

    result: TxnResult
    batch: WatchBatch | None = None


@dataclass(frozen=True, slots=True)
class FoldOutcome:
    """What a fold did: the caller's answer, and the change that it made, if any."""

    result: FoldResult
    batch: WatchBatch | None = None


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


def prefix_end(prefix: str) -> str | None:
    """Return the smallest text after all that start with `prefix`; None if there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = chr(ord(stem[-1]) + 1)
    # Surrogates are no characters: UTF-8 cannot carry them.
    return stem[:-1] + ("\ue000" if following == "\ud800" else following)


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

    def apply(self, request: Request) -> Outcome | FoldOutcome:
        """Decide and apply `request`. Raises LeaseNotFound, having changed nothing."""
        return self.run(request) if isinstance(request, Txn) else self.fold(request)

    def run(self, txn: Txn) -> Outcome:
        """Decide and apply `txn`. Raises LeaseNotFound, having changed nothing."""
        succeeded = self._hold(txn.compares)
        ops = txn.success if succeeded else txn.failure
        self._check_leases(ops)
        gets = self._gets(ops)
        batch = self._apply([op for op in ops if not isinstance(op, Get)])
        return Outcome(TxnResult(succeeded, self.revision, gets), batch)

    def fold(self, fold: Fold) -> FoldOutcome:
        """Decide and apply `fold`. Raises LeaseNotFound, having changed nothing."""
        if not self._hold(fold.guard):
            found = tuple(self.entries.get(compare.key) for compare in fold.guard)
            return FoldOutcome(FoldResult(False, self.revision, found=found))
        held = [self._hold(member.compares) for member in fold.members]
        chosen = [
            member.success if succeeded else member.failure
            for member, succeeded in zip(fold.members, held, strict=True)
        ]
        ops: list[Op] = [*fold.writes, *chain.from_iterable(chosen)]
        self._check_leases(ops)
        gets = [self._gets(each) for each in chosen]
        batch = self._apply([op for op in ops if not isinstance(op, Get)])
        members = tuple(
            TxnResult(succeeded, self.revision, found)
            for succeeded, found in zip(held, gets, strict=True)
        )
        return FoldOutcome(FoldResult(True, self.revision, members), batch)

    def revoke(self, lease: int) -> WatchBatch | None:
        """End `lease` and delete its keys."""
        self.leases.discard(lease)
        return self._apply([Delete(key) for key in self._attached.get(lease, ())])

    def _hold(self, compares: Sequence[Compare]) -> bool:
        return all(_holds(compare, self.entries.get(compare.key)) for compare in compares)

    def _gets(self, ops: Sequence[Op]) -> tuple[KeyValue | None, ...]:
        return tuple(self.entries.get(op.key) for op in ops if isinstance(op, Get))

    def _check_leases(self, ops: Sequence[Op]) -> None:
        dead = next((o.lease for o in ops if isinstance(o, Put) and not self._alive(o.lease)), 0)
        if dead:
            raise LeaseNotFound(f"lease {dead} expired or was revoked")

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
