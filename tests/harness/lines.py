"""A store in memory as several replicas see it: shared revisions, late watches, frozen lines."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from infrafabric_server.store.checks import MAX_MEMBERS, checked_fold
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import (
    Compare,
    FoldResult,
    Get,
    LeaseNotFound,
    Member,
    Op,
    StoreClosed,
    TxnResult,
    WatchBatch,
)
from infrafabric_server.store.view import Write

Pause = Callable[[], Awaitable[None]]


class GroupingStore(MemoryStore):
    """Transactions on other keys that come at the same time share a revision, as on etcd."""

    _waiting: list[tuple[Member, "asyncio.Future[TxnResult]"]]

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """See Store."""
        await self._turn()
        loop = asyncio.get_running_loop()
        if not getattr(self, "_waiting", []):
            self._waiting = []
            loop.call_soon(self._apply)
        future: asyncio.Future[TxnResult] = loop.create_future()
        self._waiting.append((Member(tuple(compares), tuple(success), tuple(failure)), future))
        return await future

    def _apply(self) -> None:
        waiting, self._waiting = self._waiting, []
        while waiting:
            together, waiting = _disjoint(waiting)
            self._apply_group(together)

    def _apply_group(self, group: list[tuple[Member, "asyncio.Future[TxnResult]"]]) -> None:
        try:
            folded = self._data.table.fold(checked_fold([], [], [member for member, _ in group]))
        except (LeaseNotFound, ValueError) as error:
            if len(group) == 1:
                if not group[0][1].done():
                    group[0][1].set_exception(error)
                return
            for each in group:
                self._apply_group([each])
            return
        self._keep(folded.batch)
        for (_, future), result in zip(group, folded.result.members, strict=True):
            if not future.done():
                future.set_result(result)


def _disjoint(
    waiting: list[tuple[Member, "asyncio.Future[TxnResult]"]],
) -> tuple[list[tuple[Member, "asyncio.Future[TxnResult]"]], list[Any]]:
    """Return who can share a revision with the first one, and the others."""
    together: list[tuple[Member, asyncio.Future[TxnResult]]] = []
    later: list[tuple[Member, asyncio.Future[TxnResult]]] = []
    seen: set[str] = set()
    written: set[str] = set()
    for each in waiting:
        member = each[0]
        ops = [*member.success, *member.failure]
        writes = {op.key for op in ops if not isinstance(op, Get)}
        keys = writes | {op.key for op in ops} | {compare.key for compare in member.compares}
        if len(together) < MAX_MEMBERS and not (keys & written or writes & seen):
            together.append(each)
            seen |= keys
            written |= writes
        else:
            later.append(each)
    return together, later


async def _at_once() -> None:
    """Do not pause."""


class Line:
    """A replica's connection to a store that other replicas use, too.

    Its watch can be held back, all of it can be frozen as when the process is stopped, and
    `pause` may take its time before each request, answer and batch of the watch. `requests` are
    counted.
    """

    def __init__(self, store: MemoryStore, pause: Pause = _at_once) -> None:
        self.inner = store
        self._pause = pause
        self._watching = asyncio.Event()
        self._running = asyncio.Event()
        self._cut = False
        self.requests = 0
        self._watching.set()
        self._running.set()

    def hold_back(self) -> None:
        """Show nothing new until `let_go`."""
        self._watching.clear()

    def let_go(self) -> None:
        """Show what was held back."""
        self._watching.set()

    def freeze(self) -> None:
        """Let nothing through in either direction until `thaw`."""
        self._running.clear()

    def thaw(self) -> None:
        """Let everything through that waited."""
        self._running.set()

    def cut(self) -> None:
        """Let nothing through for good: its process has died."""
        self._cut = True
        self.thaw()

    @property
    def frozen(self) -> bool:
        """Whether nothing gets through."""
        return not self._running.is_set()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.requests += 1
            await self._passage()
            answer = await method(*args, **kwargs)
            await self._passage()
            return answer

        return call

    async def _passage(self) -> None:
        await self._pause()
        await self._running.wait()
        if self._cut:
            raise StoreClosed("the process has died")

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """See Store."""
        result: TxnResult = await self.__getattr__("txn")(compares, success, failure)
        return result

    async def fold(
        self, guard: Sequence[Compare], writes: Iterable[Write], members: Sequence[Member]
    ) -> FoldResult:
        """See Store."""
        result: FoldResult = await self.__getattr__("fold")(guard, writes, members)
        return result

    async def watch(self, prefix: str, start_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """See Store."""
        async with aclosing(self.inner.watch(prefix, start_revision)) as batches:
            async for batch in batches:
                await self._pause()
                await self._watching.wait()
                await self._running.wait()
                yield batch


class HoldingLine(Line):
    """A line on which folds can be held up before the store sees them."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.open = asyncio.Event()
        self.open.set()
        self.held = asyncio.Event()

    def hold_folds(self) -> None:
        """Hold folds up until `open` is set; `held` tells that one is."""
        self.open.clear()
        self.held.clear()

    async def fold(
        self, guard: Sequence[Compare], writes: Iterable[Write], members: Sequence[Member]
    ) -> FoldResult:
        """See Store."""
        self.held.set()
        await self.open.wait()
        return await super().fold(guard, writes, members)
