"""Consequences are not lost while the store or the outbox cannot take them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from infrafabric_server.coordinator.background import Background
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.protocol import StoreError, StoreFull, StoreUnavailable


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    """Return a running background that tries again at once."""
    made = Background(retry_seconds=0.0)
    running = asyncio.create_task(made.run())
    await asyncio.sleep(0)
    yield made
    running.cancel()
    await asyncio.wait([running])


class Work:
    """Fails with each of some errors in turn, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.done = asyncio.Event()

    async def __call__(self) -> None:
        """Do it once."""
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        self.done.set()


@pytest.mark.parametrize(
    "error",
    [
        StoreFull("full"),
        StoreUnavailable("away"),
        StoreError("other"),
        FabricError(Reason.OUTBOX_FULL, "full"),
        FabricError(Reason.CONTENTION, "again"),
    ],
)
async def test_c10_a_consequence_is_tried_until_it_is_written(
    background: Background, error: Exception
) -> None:
    work = Work(error, error)
    background.spawn("w", work)
    await asyncio.wait_for(work.done.wait(), 5)
    assert work.calls == 3


async def test_c10_a_consequence_that_is_void_is_dropped(background: Background) -> None:
    work = Work(FabricError(Reason.TASK_ENDED, "over"))
    background.spawn("w", work)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not background.busy
    assert work.calls == 1


async def test_a_decision_goes_on_when_its_caller_leaves(background: Background) -> None:
    begun, go, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def decide() -> None:
        begun.set()
        await go.wait()
        finished.set()

    caller = asyncio.create_task(background.finish(decide()))
    await begun.wait()
    caller.cancel()
    await asyncio.wait([caller])
    go.set()
    await asyncio.wait_for(finished.wait(), 5)
    assert caller.cancelled()


async def test_a_decision_after_the_end_is_refused() -> None:
    async def decide() -> None:
        raise AssertionError

    with pytest.raises(FabricError) as refused:
        await Background().finish(decide())
    assert refused.value.reason is Reason.DRAINING
