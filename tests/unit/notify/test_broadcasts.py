"""Texts for everyone, and what is kept for a time only."""

import asyncio
from datetime import timedelta

import pytest

from infrafabric_server.clock import SystemClock
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import Broadcast
from infrafabric_server.notify.sweeper import Sweeper
from infrafabric_server.store.memory import MemoryData
from infrafabric_server.witness.outbox import PREFIX
from tests.unit.notify.world import ManualClock, World


def texts(world: World) -> list[str]:
    entries = world.coordinator.records.broadcasts.page("", 100)
    return [entry.value.message for entry in entries]


async def test_a_text_is_recorded_for_every_session_and_in_the_log() -> None:
    async with World() as world:
        await world.connect("a")
        await world.connect("b")
        assert await world.notify.broadcast("stop at noon") == 2
        assert texts(world) == ["stop at noon"]
        drafts = await world.store.range(PREFIX)
        assert sum("broadcast_sent" in kv.value for kv in drafts.kvs) == 1


async def test_a_repeat_of_a_request_sends_nothing_twice() -> None:
    async with World() as world:
        await world.connect("a")
        assert await world.notify.broadcast("stop", "r1") == 1
        await world.connect("b")
        assert await world.notify.broadcast("stop", "r1") == 1
        assert texts(world) == ["stop"]
        with pytest.raises(FabricError) as caught:
            await world.notify.broadcast("go", "r1")
        assert caught.value.reason is Reason.REQUEST_ID_REUSED


async def test_repeats_at_the_same_time_send_one_text() -> None:
    async with World() as world:
        await asyncio.gather(*(world.notify.broadcast("stop", "r1") for _ in range(20)))
        assert texts(world) == ["stop"]


async def test_texts_are_kept_ten_minutes_and_request_ids_a_day() -> None:
    data, clock = MemoryData(), ManualClock()
    async with World(data, clock=clock) as world:
        await world.notify.broadcast("first", "r1")
        clock.advance(timedelta(minutes=9))
        await world.notify.broadcast("second", "r2")
        clock.advance(timedelta(minutes=1))
        assert await world.notify.broadcast_sweeper.sweep() == 9 * 60
        assert texts(world) == ["second"]
    # The same after a restart, by what is in the store.
    async with World(data, clock=clock) as world:
        clock.advance(timedelta(days=1) - timedelta(minutes=10))
        await world.notify.broadcast_sweeper.sweep()
        await world.coordinator.records.requests.sweep()
        assert texts(world) == []
        assert [kv.key for kv in (await world.store.range("requests/")).kvs] == ["requests/r2"]


async def test_a_jump_of_the_time_of_day_keeps_nothing_for_ever() -> None:
    clock = ManualClock()
    async with World(clock=clock) as world:
        for text, jump in (("before", -60), ("after", 0)):
            await world.notify.broadcast(text)
            clock.advance(timedelta(minutes=jump))
        clock.advance(timedelta(minutes=30))
        await world.notify.broadcast_sweeper.sweep()
        assert texts(world) == ["before"]
        clock.advance(timedelta(minutes=40))
        await world.notify.broadcast_sweeper.sweep()
        assert texts(world) == []


async def test_the_sweeper_wakes_by_itself_and_takes_bounded_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infrafabric_server.notify.sweeper.MAX_BATCH", 3)
    async with World(clock=SystemClock()) as world:
        view = world.coordinator.records.broadcasts
        sweeper: Sweeper[Broadcast] = Sweeper(
            world.mirror,
            view,
            world.clock,
            time=lambda each: each.send_time,
            keep=timedelta(milliseconds=30),
        )
        sweeper.start()
        gone = asyncio.Event()
        view.subscribe(lambda _change: gone.set() if len(view) == 0 else None)
        sweeping = asyncio.create_task(sweeper.run())
        for number in range(10):
            await world.notify.broadcast(str(number))
        async with asyncio.timeout(10):
            await gone.wait()
        sweeping.cancel()
