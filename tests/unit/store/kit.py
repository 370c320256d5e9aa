"""What the tests of views and feeds share: a model, a running mirror, watches to hold back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from pydantic import BaseModel, ConfigDict

from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Store, WatchBatch


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
