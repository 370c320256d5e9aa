"""Stores in which something goes wrong."""

from collections.abc import Sequence
from typing import Any

from infrafabric_server.store.protocol import (
    Compare,
    Op,
    Put,
    Store,
    StoreFull,
    StoreUnavailable,
    TxnResult,
)


class Wrapped:
    """A store that hands everything on, for tests to change a part of."""

    def __init__(self, store: Store) -> None:
        self.inner = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        return await self.inner.txn(compares, success, failure)


def _writes_statuses(ops: Sequence[Op]) -> bool:
    return any(isinstance(op, Put) and op.key.startswith("statuses/") for op in ops)


class Rivalled(Wrapped):
    """A store on which another replica writes each status just before it is written here."""

    rounds = 0

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        for op in success:
            if self.rounds and isinstance(op, Put) and op.key.startswith("statuses/"):
                self.rounds -= 1
                before = await self.inner.get(op.key)
                assert before is not None
                # The same status with a space after it is another revision of the key.
                await self.inner.txn([], [Put(op.key, before.value + " ")])
        return await self.inner.txn(compares, success, failure)


class Failing(Wrapped):
    """A store that leaves some writes of statuses unanswered, or is full.

    `applied` tells whether it did what it did not answer.
    """

    failures = 0
    applied = False
    full = False

    async def health(self) -> None:
        if self.full:
            raise StoreFull("no space left")
        await self.inner.health()

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        if self.failures and _writes_statuses(success):
            self.failures -= 1
            if self.applied:
                await self.inner.txn(compares, success, failure)
            raise StoreUnavailable("no answer")
        return await self.inner.txn(compares, success, failure)
