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
    Op,
    Put,
    Relation,
    TxnResult,
    WatchBatch,
)


# Not frozen, though nobody changes one: that would cost a third of a microsecond for each.
@dataclass(slots=True)
class Txn:
    """A transaction that keeps the limits of the port; made by `checks.checked`."""

    compares: Sequence[Compare]
    success: Sequence[Op]
    failure: Sequence[Op]

    @property
    def ops(self) -> Iterator[Op]:
        """All operations that may be applied, whatever the compares say."""
        return chain(self.success, self.failure)


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold that keeps the limits of the port; made by `checks.checked_fold`."""

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
