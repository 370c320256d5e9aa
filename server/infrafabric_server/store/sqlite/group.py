"""A group of commands that are committed together, each with a revision of its own."""

from collections.abc import Iterable
from dataclasses import dataclass

from infrafabric_server.store.protocol import (
    FoldResult,
    KeyValue,
    LeaseNotFound,
    TxnResult,
    WatchBatch,
)
from infrafabric_server.store.sqlite.schema import first_id, revision_of
from infrafabric_server.store.transactions import Fold, Table, Txn


@dataclass(frozen=True, slots=True)
class Grant:
    """Creates a lease of `ttl` seconds."""

    ttl: float


@dataclass(frozen=True, slots=True)
class Revoke:
    """Ends a lease and deletes its keys."""

    lease: int


Command = Txn | Fold | Grant | Revoke
# The answer to a Txn or a Fold, the id of the lease that a Grant made, the lease that was
# revoked, or why the command alone was refused.
Answer = TxnResult | FoldResult | int | LeaseNotFound
# A row of the log, in the order of its columns.
Row = tuple[int, str, str | None, int, int, int, int]
# A key as `kv` knows it: key, id, create_revision, version, lease, and its value or None
# when no command looks at it.
Known = tuple[str, int, int, int, int, str | None]


class Group:
    """Decides commands one after another on what is known of their keys.

    Args:
        revision: the newest revision of the store.
        leases: those that are alive; the set itself is changed by grants and revocations.
        last_lease: the largest id that a lease ever had.
        known: all keys that the commands look at and that exist.
    """

    def __init__(
        self, revision: int, leases: set[int], last_lease: int, known: Iterable[Known]
    ) -> None:
        self._ids: dict[str, int] = {}
        self.table = Table(revision, [self._entry(row) for row in known], leases)
        self.last_lease = last_lease
        self.rows: list[Row] = []
        self.batches: list[WatchBatch] = []
        self.granted: dict[int, float] = {}
        self.revoked: list[int] = []

    def run(self, command: Command) -> Answer:
        """Decide and apply one command to the group."""
        match command:
            case Txn() | Fold():
                try:
                    outcome = self.table.apply(command)
                except LeaseNotFound as error:
                    return error
                self._add(outcome.batch)
                return outcome.result
            case Grant(ttl):
                self.last_lease += 1
                self.table.leases.add(self.last_lease)
                self.granted[self.last_lease] = ttl
                return self.last_lease
            case Revoke(lease):
                self._add(self.table.revoke(lease))
                self.revoked.append(lease)
                return lease

    def _entry(self, row: Known) -> KeyValue:
        key, id_, create_revision, version, lease, value = row
        self._ids[key] = id_
        return KeyValue(key, value or "", create_revision, revision_of(id_), version, lease)

    def _add(self, batch: WatchBatch | None) -> None:
        if batch is None:
            return
        self.batches.append(batch)
        for id_, event in enumerate(batch.events, first_id(batch.revision)):
            kv = event.kv
            previous = self._ids.pop(event.key, 0)
            if kv is None:
                self.rows.append((id_, event.key, None, 0, 0, 0, previous))
            else:
                self._ids[event.key] = id_
                self.rows.append(
                    (id_, kv.key, kv.value, kv.create_revision, kv.version, kv.lease, previous)
                )
