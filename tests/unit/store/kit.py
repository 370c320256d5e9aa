"""What the tests of views and feeds share: a model, a running mirror, watches to hold back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from pydantic import BaseModel, ConfigDict

from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.store.mirror import Change, Mirror, View
from infrafabric_server.store.protocol import (
    Compare,
    Op,
    Store,
    StoreUnavailable,
    TxnResult,
    WatchBatch,
)

T = TypeVar("T")


class Item(BaseModel):
    """Something small to store."""

    model_config = ConfigDict(frozen=True)

    n: int = 0
    text: str = ""


class HeldStore(MemoryStore):
    """A store whose watches bring what happened up to a revision, and no more until told."""

    limit = 0
    _moved: asyncio.Event | None = None

    def release(self, revision: int) -> None:
        """Let watches bring what happened up to `revision`."""
        self.limit = revision
        if self._moved is not None:
            self._moved.set()
            self._moved = None

    async def watch(self, prefix: str, start_revision: int) -> AsyncGenerator[WatchBatch, None]:
        async with aclosing(super().watch(prefix, start_revision)) as watch:
            async for batch in watch:
                while batch.revision > self.limit:
                    self._moved = self._moved or asyncio.Event()
                    await self._moved.wait()
                yield batch


class FailingStore(MemoryStore):
    """A store whose answers get lost, before or after the transaction."""

    lost_before = 0
    lost_after = 0

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        if self.lost_before:
            self.lost_before -= 1
            raise StoreUnavailable("nobody answers")
        result = await super().txn(compares, success, failure)
        if self.lost_after:
            self.lost_after -= 1
            raise StoreUnavailable("the answer got lost")
        return result


def heard(view: View[Item]) -> list[Change[Item]]:
    """Return the changes of a view, which are added as they come."""
    changes: list[Change[Item]] = []
    view.subscribe(changes.append)
    return changes


@asynccontextmanager
async def running(mirror: Mirror) -> AsyncIterator[Mirror]:
    """Start a mirror and run it until the block ends."""
    await mirror.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(mirror.run())
        yield mirror
        await mirror.close()


async def keys(store: Store, prefix: str) -> dict[str, tuple[str, int, int]]:
    """Return what the store has under a prefix: value, mod and create revision by id."""
    page = await store.range(prefix, limit=10_000)
    return {
        kv.key.removeprefix(prefix): (kv.value, kv.mod_revision, kv.create_revision)
        for kv in page.kvs
    }


def end(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop with what still runs in it, for the sake of the next history."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


class HeldMachine(RuleBasedStateMachine):
    """A machine over a HeldStore, whose news are released and whose history is forgotten."""

    store: HeldStore

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def open_store(self) -> None:
        """Open the store, empty."""

        async def opened() -> HeldStore:
            return await HeldStore.open(MemoryData())

        self.store = self.run(opened())

    @rule(share=st.floats(0, 1))
    def release(self, share: float) -> None:
        newest = self.run(self.store.revision())
        self.store.release(self.store.limit + round(share * (newest - self.store.limit)))
        self.run(self.caught_up(self.store.limit))

    @rule(share=st.floats(0, 1))
    def compact(self, share: float) -> None:
        self.run(self.store.compact(round(share * self.run(self.store.revision()))))

    async def caught_up(self, revision: int) -> None:
        """Return when all that follows the store is at `revision`."""
        raise NotImplementedError
