"""Decisions that touch one hot account, written together instead of raced one by one.

An account is one key whose value says what is reserved of something: a swarm's slots, a
budget. Raced by compare-and-swap, all but one of those who decide at a time fail. Here they
queue per account; while a fold is being written the next ones gather, and each is decided on
what the ones before it leave.

What is written must be enough however the members end. So an account may reserve too much
for a while, and never too little: a reservation stands in the account at the revision of what
it is for, and goes when that failed, or is over. Each correction is part of the account's next
fold, which begins at once. When a process ends before it, or an outcome stays unknown, the
surplus stays until `Folder.amend` takes it away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import structlog
from pydantic import BaseModel

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.checks import MAX_MEMBERS
from infrafabric_server.store.fold_batch import (
    Batch,
    Correction,
    Decide,
    Decision,
    Waiting,
    compose,
)
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import (
    FoldResult,
    KeyValue,
    Member,
    Store,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreUnavailable,
    TxnResult,
    unchanged,
)
from infrafabric_server.store.view import View

__all__ = ["Decide", "Decision", "Folder"]

StateT = TypeVar("StateT", bound=BaseModel)

# Of N replicas that fold one account all the time, one wins each round: with five of them, one
# batch in thirty-five gives up.
_TRIES = 16
# Seconds between attempts at corrections that nobody waits for, doubled from first to last.
_FIRST_PAUSE = 0.1
_LAST_PAUSE = 1.0
# What makes all of a batch fail alike; every other refusal may be one member's fault.
_ALL_ALIKE = (StoreUnavailable, StoreClosed, StoreFull)
_NOTHING = Member((), ())


@dataclass(frozen=True, slots=True)
class _Known(Generic[StateT]):
    """An account as it was last changed at `revision`, 0 when it is not there."""

    state: StateT
    revision: int


@dataclass(slots=True)
class _Account(Generic[StateT]):
    """Who waits for an account, and what its last folds left to be corrected.

    `known` is the account by the store's last answer, which the views may not show yet.
    `arrived` counts those who came, `certain` those of them who came before a question to the
    store whose answer is known: only on such an answer is anyone refused. The next `apart`
    batches have one decision each, as one of them spoiled a batch.
    """

    known: _Known[StateT]
    waiting: list[Waiting[StateT]] = field(default_factory=list)
    corrections: list[Correction[StateT]] = field(default_factory=list)
    arrived: int = 0
    certain: int = 0
    apart: int = 0


class Folder(Generic[StateT]):
    """Folds decisions on the accounts under one prefix.

    Any number of processes may fold the same accounts. The decision of a caller that is
    cancelled is dropped if it was not sent yet; else it is written and corrected as any other.

    Args:
        store: asked for accounts that another process changed.
        mirror: of the same store; shows what was folded.
        view: of the accounts, from `mirror`; nobody else writes under its prefix.
        empty: what an account is that is not there.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        view: View[StateT],
        empty: StateT,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._view = view
        self._empty = empty
        self._sleep = sleep
        self._accounts: dict[str, _Account[StateT]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._closed = False
        self._logger = structlog.get_logger(__name__)

    async def decide(self, account: str, decide: Decide[StateT]) -> TxnResult:
        """Have `decide` decided on the account, in turn, and return how its member ended.

        Args:
            account: its id under the view's prefix.
            decide: given the account, returns the Decision or raises why there is none. It may
                be called several times and must have no effects.

        Raises:
            FabricError: CONTENTION, when other processes were faster again and again.
            StoreError: after StoreUnavailable the decision may have been written.
            Exception: what `decide` raised on a state that is no older than this call.
        """
        if self._closed:
            raise StoreClosed("the folder of accounts was closed")
        entry = self._accounts.get(account)
        if entry is None:
            entry = self._accounts[account] = _Account(self._shown(account))
            worker = asyncio.create_task(self._work(account, entry), name=f"fold_{account}")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        entry.arrived += 1
        future: asyncio.Future[TxnResult] = asyncio.get_running_loop().create_future()
        entry.waiting.append(Waiting(decide, future, entry.arrived))
        return await future

    async def amend(self, account: str, change: Callable[[StateT], StateT]) -> None:
        """Change an account by itself, as to take away a surplus.

        On views that show every change up to one revision (`Mirror.settled`), a reservation
        without what it is for is a surplus for good: both are written at one revision, and no
        name of a reservation is used twice. So `change` takes away by name what was found,
        whatever has happened since. Raises as `decide`.
        """
        await self.decide(account, lambda state: Decision(change(state), _NOTHING))

    async def close(self) -> None:
        """Finish what was accepted, and correct what the store takes now. Safe to repeat."""
        self._closed = True
        if self._workers:
            await asyncio.wait(self._workers)

    async def _work(self, account: str, entry: _Account[StateT]) -> None:
        pause = _FIRST_PAUSE
        try:
            while entry.waiting or entry.corrections:
                if await self._fold(account, entry):
                    pause = _FIRST_PAUSE
                elif not entry.waiting:
                    if self._closed:
                        break
                    await self._sleep(pause)
                    pause = min(pause * 2, _LAST_PAUSE)
        except Exception as error:
            self._logger.exception("account_worker_failed", account=account)
            text = f"{self._view.key(account)} could not be decided: {error!r}"
            _fail(entry.waiting, lambda: StoreUnavailable(text))
        finally:
            del self._accounts[account]
            if entry.corrections:
                self._logger.warning("account_left_with_surplus", account=account)
            _fail(entry.waiting, lambda: StoreClosed("the folder of accounts was closed"))

    async def _fold(self, account: str, entry: _Account[StateT]) -> bool:
        # Writes one batch or answers everyone without; tells whether the store answered.
        entry.known = max(entry.known, self._shown(account), key=lambda known: known.revision)
        tries = 0
        batch = self._compose(entry)
        while tries < _TRIES:
            asked, known = entry.arrived, entry.known
            try:
                if batch.chosen or batch.state != known.state:
                    result = await self._write(account, known, batch)
                    if result.succeeded:
                        self._written(entry, batch, result, asked)
                        return True
                    tries += 1
                    entry.known = self._known(result.found[0])
                elif batch.undecided:
                    entry.known = self._known(await self._store.get(self._view.key(account)))
                else:
                    entry.corrections.clear()
                    return True
            except (StoreError, ValueError) as error:
                return self._failed(entry, batch, error)
            entry.certain = asked
            batch = self._compose(entry)
        busy = f"{self._view.key(account)} changes too fast; try again"
        self._give_up(entry, batch, lambda: FabricError(Reason.CONTENTION, busy, retry_after=0.1))
        return False

    def _shown(self, account: str) -> _Known[StateT]:
        entry = self._view.entry(account)
        return _Known(self._empty, 0) if entry is None else _Known(entry.value, entry.mod_revision)

    def _known(self, kv: KeyValue | None) -> _Known[StateT]:
        return (
            _Known(self._empty, 0) if kv is None else _Known(self._view.decode(kv), kv.mod_revision)
        )

    def _compose(self, entry: _Account[StateT]) -> Batch[StateT]:
        limit = 1 if entry.apart else MAX_MEMBERS
        batch = compose(entry.known.state, entry.waiting, entry.corrections, entry.certain, limit)
        for waiting, refusal in batch.refused:
            waiting.future.set_exception(refusal)
        _drop_answered(entry.waiting)
        return batch

    async def _write(self, account: str, known: _Known[StateT], batch: Batch[StateT]) -> FoldResult:
        key = self._view.key(account)
        writes = [self._view.put(account, batch.state)] if batch.state != known.state else []
        members = [decision.member for _, decision in batch.chosen]
        return await self._mirror.fold([unchanged(key, known.revision)], writes, members)

    def _written(
        self, entry: _Account[StateT], batch: Batch[StateT], result: FoldResult, asked: int
    ) -> None:
        state = batch.state
        if state != entry.known.state:
            entry.known = _Known(state, result.revision)
        entry.certain = asked
        entry.apart = max(0, entry.apart - 1)
        entry.corrections.clear()
        for (waiting, decision), ended in zip(batch.chosen, result.members, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(ended)
            if decision.settle is not None:
                correction = partial(_settled, decision.settle, ended)
                corrected = correction(state)
                if corrected != state:
                    entry.corrections.append(correction)
                    state = corrected
        _drop_answered(entry.waiting)

    def _failed(
        self, entry: _Account[StateT], batch: Batch[StateT], error: StoreError | ValueError
    ) -> bool:
        # Corrections stay: an account that has them already is none the worse for them.
        if len(batch.chosen) > 1 and not isinstance(error, _ALL_ALIKE):
            entry.apart = len(batch.chosen)
            return True
        entry.apart = max(0, entry.apart - 1)
        self._give_up(entry, batch, lambda: copy(error))
        return False

    def _give_up(
        self, entry: _Account[StateT], batch: Batch[StateT], error: Callable[[], Exception]
    ) -> None:
        # Whoever was not chosen waits for what only this answer would have told.
        _fail([waiting for waiting, _ in batch.chosen] or entry.waiting, error)
        _drop_answered(entry.waiting)


def _settled(
    settle: Callable[[StateT, TxnResult], StateT], ended: TxnResult, state: StateT
) -> StateT:
    return settle(state, ended)


def _drop_answered(waiting: list[Waiting[StateT]]) -> None:
    waiting[:] = [each for each in waiting if not each.future.done()]


def _fail(waiting: Iterable[Waiting[StateT]], error: Callable[[], Exception]) -> None:
    for each in waiting:
        if not each.future.done():
            # Each caller raises, and so changes, an error of its own.
            each.future.set_exception(error())
