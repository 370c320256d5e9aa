"""A store as plain dictionaries: what the adapters must agree with."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Event,
    FoldResult,
    Get,
    KeyValue,
    Member,
    Op,
    Put,
    Relation,
    TxnResult,
    WatchBatch,
)

State = dict[str, KeyValue]


@dataclass
class Lease:
    ttl: int
    deadline: float


@dataclass
class Model:
    """The present, and every past state and change."""

    states: list[State] = field(default_factory=lambda: [{}])
    batches: list[WatchBatch] = field(default_factory=list)
    leases: dict[int, Lease] = field(default_factory=dict)
    compacted: int = 1

    @property
    def state(self) -> State:
        return self.states[-1]

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op]
    ) -> TxnResult | None:
        """Apply a transaction; None when it is refused for a dead lease."""
        succeeded = all(self._holds(compare) for compare in compares)
        ops = success if succeeded else failure
        leases = {op.lease for op in ops if isinstance(op, Put)}
        if not leases <= {0, *self.leases}:
            return None
        gets = tuple(self.state.get(op.key) for op in ops if isinstance(op, Get))
        self._change(
            {op.key: op if isinstance(op, Put) else None for op in ops if not isinstance(op, Get)}
        )
        return TxnResult(succeeded, self.revision, gets)

    def fold(
        self, guard: Sequence[Compare], writes: Sequence[Put | Delete], members: Sequence[Member]
    ) -> FoldResult | None:
        """Apply a fold; None when it is refused for a dead lease."""
        if not all(self._holds(compare) for compare in guard):
            found = tuple(self.state.get(compare.key) for compare in guard)
            return FoldResult(False, self.revision, (), found)
        before, ops, results = self.state, list[Op](writes), []
        for member in members:
            succeeded = all(self._holds(compare) for compare in member.compares)
            chosen = member.success if succeeded else member.failure
            gets = tuple(before.get(op.key) for op in chosen if isinstance(op, Get))
            results.append((succeeded, gets))
            ops += chosen
        if self.txn([], ops, []) is None:
            return None
        return FoldResult(
            True, self.revision, tuple(TxnResult(held, self.revision, g) for held, g in results)
        )

    def revoke(self, lease: int) -> None:
        self.leases.pop(lease, None)
        self._change({key: None for key, kv in self.state.items() if lease and kv.lease == lease})

    def expire(self, now: float) -> None:
        due = [(each.deadline, lease) for lease, each in self.leases.items()]
        for deadline, lease in sorted(due):
            if deadline <= now:
                self.revoke(lease)

    def restart(self, now: float) -> None:
        for lease in self.leases.values():
            lease.deadline = now + lease.ttl

    def _change(self, changes: dict[str, Put | None]) -> None:
        new = dict(self.state)
        revision = self.revision + 1
        events = []
        for key, put in sorted(changes.items()):
            old = new.pop(key, None)
            if put is not None:
                created, version = (old.create_revision, old.version) if old else (revision, 0)
                new[key] = KeyValue(key, put.value, created, revision, version + 1, put.lease)
            if put is not None or old is not None:
                events.append(Event(key, new.get(key)))
        if events:
            self.states.append(new)
            self.batches.append(WatchBatch(revision, tuple(events)))

    def _holds(self, compare: Compare) -> bool:
        kv = self.state.get(compare.key) or KeyValue(compare.key, "", 0, 0, 0)
        # Wrapped, so that a comparison of texts and one of numbers look alike to the checker.
        actual, operand = (getattr(kv, compare.field.value),), (compare.operand,)
        if compare.relation is Relation.EQUAL:
            return actual == operand
        if compare.relation is Relation.NOT_EQUAL:
            return actual != operand
        return actual < operand if compare.relation is Relation.LESS else actual > operand
