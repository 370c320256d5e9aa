"""N10: watchers get a snapshot, then live events with a cursor, and resume without loss."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from infrafabric_server.fleet.models import Status
from infrafabric_server.notify import watch
from infrafabric_server.notify.watch import Batch, Changed, Listed, Missed, Removed, Said
from tests.unit.notify.world import PATIENCE, World


async def until(
    batches: AsyncGenerator[Batch, None], holds: Callable[[Batch], bool]
) -> list[Batch]:
    """Return what comes up to and with the first batch that `holds`."""
    seen = []
    async with asyncio.timeout(PATIENCE):
        async for batch in batches:
            seen.append(batch)
            if holds(batch):
                return seen
    raise AssertionError("the watch ended by itself")


def ended(batch: Batch) -> bool:
    return isinstance(batch.events[-1], watch.SnapshotEnd)


def tells(swarm_id: str, status: Status) -> Callable[[Batch], bool]:
    def holds(batch: Batch) -> bool:
        return any(
            isinstance(event, Changed)
            and event.agent.status.swarm_id == swarm_id
            and event.agent.status.status is status
            for event in batch.events
        )

    return holds


async def watched(world: World) -> None:
    """Return when a watch that begins knows of all that was reported."""
    await world.mirror.caught_up(await world.store.revision())


def statuses(batches: list[Batch]) -> list[tuple[str, Status]]:
    return [
        (event.agent.status.swarm_id, event.agent.status.status)
        for batch in batches
        for event in batch.events
        if isinstance(event, Listed | Changed)
    ]


async def test_n10_a_watch_begins_with_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_TOGETHER", 2)
    async with World() as world:
        for swarm_id in "edcba":
            await world.report(swarm_id, Status.BUSY)
        await watched(world)
        async with aclosing(world.watch.follow(None)) as batches:
            seen = await until(batches, ended)
        assert statuses(seen) == [(swarm_id, Status.BUSY) for swarm_id in "abcde"]
        assert [batch.cursor is None for batch in seen] == [True, True, True, False]
        assert seen[-1].events == (watch.SnapshotEnd(5),)


async def test_n10_every_change_is_told_with_a_rising_cursor() -> None:
    async with World() as world, aclosing(world.watch.follow(None)) as batches:
        await until(batches, ended)
        await world.report("s", Status.COMPLETED, last_task="t")
        await world.report("s", Status.BUSY)
        seen = await until(batches, tells("s", Status.BUSY))
        told = [status for _, status in statuses(seen)]
        assert told[-3:] == [Status.COMPLETED, Status.IDLE, Status.BUSY]
        cursors = [batch.cursor for batch in seen if batch.cursor is not None]
        assert len(cursors) == len(seen)
        assert cursors == sorted(set(cursors))


async def test_n10_from_every_cursor_the_rest_is_told_once() -> None:
    async with World() as world:
        async with aclosing(world.watch.follow(None)) as batches:
            (start,) = await until(batches, ended)
            await world.report("s", Status.IDLE, capabilities={"go"})
            await world.report("s", Status.COMPLETED)
            await world.report("s", Status.HELP)
            whole = await until(batches, tells("s", Status.HELP))
        for index, batch in enumerate([start, *whole[:-1]]):
            async with aclosing(world.watch.follow(batch.cursor)) as again:
                rest = await until(again, tells("s", Status.HELP))
            assert [each.cursor for each in rest] == [each.cursor for each in whole[index:]]
            assert statuses(rest) == statuses(whole[index:])


async def test_n10_a_cursor_that_is_too_old_is_told_and_a_snapshot_follows() -> None:
    async with World() as world:
        for status in (Status.IDLE, Status.HELP, Status.BUSY):
            await world.report("s", status)
        await watched(world)
        await world.store.compact(world.mirror.revision)
        # A watcher of another process: nothing of the past is in its memory.
        async with World(world.data) as later, aclosing(later.watch.follow(1)) as batches:
            seen = await until(batches, ended)
    assert isinstance(seen[0].events[0], Missed)
    assert seen[0].cursor is None
    assert ("s", Status.BUSY) in statuses(seen)


async def test_what_a_swarm_can_do_and_its_end_and_texts_are_told() -> None:
    async with World() as world:
        await world.report("s", Status.BUSY, capabilities={"go"})
        await watched(world)
        async with aclosing(world.watch.follow(None)) as batches:
            await until(batches, ended)
            await world.coordinator.register_swarm("s", frozenset({"rust"}))
            (batch,) = await until(batches, tells("s", Status.BUSY))
            (event,) = batch.events
            assert isinstance(event, Changed)
            assert event.agent.capabilities == {"rust"}
            await world.notify.broadcast("stop at noon")
            await world.coordinator.registration.deregister("s")
            said, _ = await until(batches, lambda batch: batch.events == (Removed("s"),))
        (event,) = said.events
        assert isinstance(event, Said)
        assert event.broadcast.message == "stop at noon"


async def test_n3_a_hundred_watchers_see_a_change() -> None:
    async with World() as world:
        watches = [world.watch.follow(None) for _ in range(100)]
        for batches in watches:
            await until(batches, ended)
        await world.report("s", Status.BUSY)
        for batches in watches:
            await until(batches, tells("s", Status.BUSY))
            await batches.aclose()
