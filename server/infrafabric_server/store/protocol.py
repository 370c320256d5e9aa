"""The port to the truth: a revisioned key-value store with etcd's semantics.

Every change gets the next revision of the whole store. A transaction compares, then
applies one of two lists of operations; all that it changes shares one revision, which
transactions on other keys that came at the same time may share as well. Keys and values
are text; values are JSON, so that a person can read them.

    StoreError
    ├── Compacted           the history that was asked for is gone
    ├── LeaseNotFound       the lease expired or was revoked
    ├── StoreUnavailable    no answer; the transaction may or may not have been applied
    ├── StoreFull           the disk or quota is full; nothing was applied
    ├── StoreClosed         the store was closed
    ├── StoreDenied         a password, certificate or permission is refused; nothing was applied
    └── StoreRefused        the data cannot be used: held by another, of a newer format, damaged
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class StoreError(Exception):
    """Base of all errors of a store."""


class Compacted(StoreError):
    """The revision that was asked for is no longer kept.

    `oldest` is the smallest revision that can still be asked for.
    """

    def __init__(self, oldest: int) -> None:
        super().__init__(f"history before revision {oldest} was compacted")
        self.oldest = oldest


class LeaseNotFound(StoreError):
    """The lease expired, was revoked or never was."""


class StoreUnavailable(StoreError):
    """The store did not answer; a transaction may have been applied all the same."""


class StoreFull(StoreError):
    """The disk or the quota is full; nothing was applied."""


class StoreClosed(StoreError):
    """The store was closed before it answered."""


class StoreDenied(StoreError):
    """The store denies us access; nothing was applied. It may be given back while we run."""


class StoreRefused(StoreError):
    """The data cannot be opened, or are damaged; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key as it is at a revision.

    `create_revision` is the revision that created the key, `mod_revision` the one that
    last changed it, `version` counts its changes from 1, `lease` is 0 without a lease.
    """

    key: str
    value: str
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class Field(Enum):
    """What a comparison looks at; a missing key counts as 0 in each number, "" in value."""

    CREATE_REVISION = "create_revision"
    MOD_REVISION = "mod_revision"
    VERSION = "version"
    LEASE = "lease"
    VALUE = "value"


class Relation(Enum):
    """How a comparison compares."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    GREATER = ">"


# This one, Put and TxnResult are made for each of thousands of transactions a second. Frozen,
# each would take three times as long to make; treat them as such all the same.
@dataclass(slots=True, unsafe_hash=True)
class Compare:
    """One condition of a transaction: `field` of `key` stands in `relation` to `operand`."""

    key: str
    field: Field
    operand: int | str
    relation: Relation = Relation.EQUAL


def unchanged(key: str, mod_revision: int) -> Compare:
    """Return the condition that `key` was last changed at `mod_revision` (0: is absent)."""
    return Compare(key, Field.MOD_REVISION, mod_revision)


def absent(key: str) -> Compare:
    """Return the condition that `key` does not exist."""
    return Compare(key, Field.CREATE_REVISION, 0)


def present(key: str) -> Compare:
    """Return the condition that `key` exists."""
    return Compare(key, Field.CREATE_REVISION, 0, Relation.GREATER)


@dataclass(slots=True, unsafe_hash=True)
class Put:
    """Set `key` to `value`, bound to `lease` (0: to none). A key is put once per transaction."""

    key: str
    value: str
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove `key`, if it is there."""

    key: str


@dataclass(frozen=True, slots=True)
class Get:
    """Read `key` as it was before the transaction's own changes."""

    key: str


Op = Put | Delete | Get


@dataclass(slots=True, unsafe_hash=True)
class TxnResult:
    """How a transaction ended.

    `succeeded` tells which list was applied, `revision` is that of the store afterwards,
    `gets` answers the list's Get operations in order.
    """

    succeeded: bool
    revision: int
    gets: tuple[KeyValue | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A transaction of its own within a fold, with the arguments of `Store.txn`."""

    compares: Sequence[Compare]
    success: Sequence[Op]
    failure: Sequence[Op] = ()


@dataclass(frozen=True, slots=True)
class FoldResult:
    """How a fold ended.

    `succeeded` tells whether the guard held, `revision` is that of the store afterwards,
    `members` has the result of each member in order. When the guard did not hold, `members`
    is empty and `found` has the key of each compare of the guard as it is.
    """

    succeeded: bool
    revision: int
    members: tuple[TxnResult, ...] = ()
    found: tuple[KeyValue | None, ...] = ()


@dataclass(frozen=True, slots=True)
class RangeResult:
    """A page of keys in order, at `revision`; `more` tells whether keys follow."""

    kvs: tuple[KeyValue, ...]
    revision: int
    more: bool


@dataclass(frozen=True, slots=True)
class Event:
    """One change: `kv` is the new state, or None when the key was deleted."""

    key: str
    kv: KeyValue | None


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """All changes of one revision under the watched prefix, ordered by key.

    Without any, it tells a watch of all keys that nothing changed up to its revision.
    """

    revision: int
    events: tuple[Event, ...] = field(default=())


class Store(Protocol):
    """A revisioned key-value store with transactions, watches and leases.

    Every method may raise StoreUnavailable, StoreDenied or StoreClosed.
    """

    async def get(self, key: str) -> KeyValue | None:
        """Return `key` as it is now, or None."""
        ...

    async def range(
        self, prefix: str, *, limit: int = 1000, after: str = "", revision: int = 0
    ) -> RangeResult:
        """Return keys that start with `prefix`, in order, that sort after `after`.

        `limit` is 1 to 10,000. `revision` pins the state (0: now); all pages of a walk
        pin the revision of the first. Raises Compacted.
        """
        ...

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """Apply `success` if all `compares` hold, else `failure`, as one change.

        A transaction that changes nothing takes no revision. When it returns, the change
        is durable. At most 8,192 compares and operations, of which the creation of a task
        takes six and a board has 1,000, and 64 MiB of values.
        Raises LeaseNotFound for a Put with a dead lease (nothing is applied),
        StoreFull, ValueError for a key put or deleted twice.
        """
        ...

    async def fold(
        self, guard: Sequence[Compare], writes: Sequence[Put | Delete], members: Sequence[Member]
    ) -> FoldResult:
        """Apply `writes` and every member at one revision if all of `guard` holds, else nothing.

        Every compare sees the state before. So that no member can tell the order, none may
        touch a key that `writes` or another member changes: ValueError names the key. At most
        64 members, and in all as much as a transaction takes. When it returns, the change is
        durable. A fold whose guard does not hold takes no revision; one that changes nothing
        may take one. Raises as `txn`; for a dead lease of one member nothing is applied.
        """
        ...

    def watch(self, prefix: str, start_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Yield every later change under `prefix`, whole revisions, from `start_revision` on.

        `start_revision` is at least 1. Nothing is lost or repeated, also when the consumer
        is slow. Raises Compacted when the next revision to send is no longer kept.
        """
        ...

    async def grant(self, ttl: float) -> int:
        """Create a lease of `ttl` seconds (at least 0.1) and return its id, never 0."""
        ...

    async def keepalive(self, lease: int) -> None:
        """Give the lease its whole time again. Raises LeaseNotFound."""
        ...

    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys in one change. A dead lease is no error."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`; the present state stays."""
        ...

    async def revision(self) -> int:
        """Return the newest revision; 0 for a store that never changed. It needs no write."""
        ...

    async def reachable(self, revision: int) -> int:
        """Return `revision`, or an earlier one that watches of all keys have come to.

        Where others count revisions, too, and the store is full, watches may not come to
        `revision` before it takes writes again. The earlier one then has all transactions that
        were acknowledged before this call, and perhaps not yet the latest ends of leases.
        """
        ...

    async def health(self) -> None:
        """Return if the store can take a write; raise StoreError with the reason if not."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, then release everything. Safe to repeat."""
        ...
