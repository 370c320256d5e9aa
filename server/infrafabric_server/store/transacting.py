"""What every store does alike with transactions and folds, before it carries them out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from infrafabric_server.store.checks import checked, checked_fold
from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    FoldResult,
    Member,
    Op,
    Put,
    TxnResult,
)
from infrafabric_server.store.transactions import Request

AnswerT = TypeVar("AnswerT", TxnResult, FoldResult)


class Transacting(ABC):
    """The part of a store that checks what is asked for, and has it applied."""

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """Apply a transaction, as `Store.txn` says."""
        return await self._transact(checked(compares, success, failure), TxnResult)

    async def fold(
        self, guard: Sequence[Compare], writes: Sequence[Put | Delete], members: Sequence[Member]
    ) -> FoldResult:
        """Apply a fold, as `Store.fold` says."""
        return await self._transact(checked_fold(guard, writes, members), FoldResult)

    @abstractmethod
    async def _transact(self, request: Request, answer: type[AnswerT]) -> AnswerT:
        """Apply what was checked; its answer is an `answer`."""
