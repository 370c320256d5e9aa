"""The desk: escalations follow their causes, over crashes, changes of leader and a full store."""

import asyncio
from datetime import timedelta

import pytest

from infrafabric_server.errors import FabricError, InvalidField, Reason
from infrafabric_server.governor.escalation.models import Kind, State
from infrafabric_server.governor.escalation.rules import KEPT
from infrafabric_server.store.memory import MemoryData, MemoryStore
from tests.harness.lines import Line
from tests.harness.replicas import ChosenLeader
from tests.unit.governor.escalation.world import world
from tests.unit.notify.world import ManualClock

RAISE_AFTER = timedelta(minutes=15)


async def test_g7_an_escalation_from_its_opening_until_it_is_forgotten() -> None:
    async with world() as it:
        opened = await it.opened("one")
        assert (opened.state, opened.level, opened.updates) == (State.OPEN, 1, 1)
        it.pass_time(RAISE_AFTER)
        await it.until(lambda: (e := it.get("one")) is not None and e.level == 2)
        for nobody in (" ", "\u200b", "mary\0"):
            with pytest.raises(InvalidField, match="acknowledged_by: must name a person"):
                await it.desk.acknowledge("policy:one", nobody, "I look")
        taken = await it.desk.acknowledge("policy:one", " mary ", "I look")
        assert taken == await it.desk.acknowledge("policy:one", "mary", "I look")
        it.pass_time(5 * RAISE_AFTER)
        await it.end("one")
        await it.until(lambda: (e := it.get("one")) is not None and e.state is State.CLOSED)
        closed = it.get("one")
        assert closed is not None
        assert (closed.level, closed.acknowledged_by) == (2, "mary")
        assert closed == await it.desk.acknowledge("policy:one", "ben", "too late")
        it.pass_time(KEPT)
        await it.until(lambda: it.get("one") is None)
        assert await it.recorded() == [
            ("escalation_opened", "policy:one"),
            ("escalation_raised", "policy:one"),
            ("escalation_acknowledged", "policy:one"),
            ("escalation_closed", "policy:one"),
        ]
        with pytest.raises(FabricError) as refused:
            await it.desk.acknowledge("policy:one", "mary", "")
        assert refused.value.reason is Reason.ESCALATION_NOT_FOUND


async def test_g7_a_crash_loses_nothing_and_repeats_nothing() -> None:
    data, clock = MemoryData(), ManualClock()
    async with world(data, clock=clock) as it:
        await it.opened("kept")
        await it.opened("over")
    nobody = ChosenLeader()
    async with world(data, clock=clock, leadership=nobody) as it:
        await it.end("over")
        await it.alarm("new")
        clock.advance(2 * RAISE_AFTER)
        assert it.get("new") is None
        nobody.set(leading=True)
        await it.until(lambda: it.get("new") is not None)
        await it.until(lambda: (e := it.get("kept")) is not None and e.level == 3)
        await it.until(lambda: (e := it.get("over")) is not None and e.state is State.CLOSED)
        recorded = await it.recorded()
        assert len(recorded) == len(set(recorded)) == 5


async def test_g7_many_incidents_at_once_are_one_record_each() -> None:
    async with world() as it:
        await asyncio.gather(*(it.alarm(f"s{number}") for number in range(300)))
        await it.until(lambda: len(it.desk.records.escalations) == 300)
        assert len(await it.recorded()) == 300
        shown = await it.desk.page("", 200, State.OPEN)
        assert len(shown.found) == 200
        assert shown.position == shown.found[-1].escalation_id
        rest = await it.desk.page(shown.position, 200, None)
        assert (len(rest.found), rest.position) == (100, "")
        assert (await it.desk.page("", 200, State.CLOSED)).found == []


async def test_g7_there_is_a_bound_and_closed_ones_make_room() -> None:
    async with world(limit=3) as it:
        for name in ("a", "b", "c"):
            await it.opened(name)
        await it.alarm("d")
        await it.end("b")
        await it.until(lambda: (e := it.get("b")) is not None and e.state is State.CLOSED)
        assert it.get("d") is None
        it.pass_time(timedelta(minutes=1))
        await it.until(lambda: it.get("d") is not None)
        assert (it.get("b"), len(it.desk.records.escalations)) == (None, 3)


async def test_g7_a_flood_leaves_room_for_breakers_and_always_for_the_hold() -> None:
    async with world(limit=4) as it:
        for name in ("a", "b", "c"):
            await it.opened(name, Kind.HELP)
        await it.alarm("d", kind=Kind.HELP)
        await it.opened("anna", Kind.BREAKER)
        await it.alarm("bert", kind=Kind.BREAKER)
        await it.opened("fabric", Kind.HOLD)
        assert it.get("d", Kind.HELP) is None
        assert it.get("bert", Kind.BREAKER) is None
        await it.end("a")
        it.pass_time(timedelta(minutes=1))
        await it.until(lambda: it.get("bert", Kind.BREAKER) is not None)


async def test_g7_an_escalation_that_is_heard_of_before_its_cause_is_not_closed() -> None:
    clock, nobody = ManualClock(), ChosenLeader()
    async with world(clock=clock) as one:
        assert isinstance(one.store, MemoryStore)
        line = Line(one.store)
        async with world(clock=clock, leadership=nobody, line=line) as other:
            line.hold_back()
            opened = await one.opened("one")
            entry = one.desk.records.escalations.entry("policy:one")
            assert entry is not None
            # As the news of a commit, which may overtake the watch of the store.
            put = other.desk.records.escalations.put(entry.id, opened)
            other.mirror.hear(entry.mod_revision, [put])
            assert (other.get("one"), other.alarms.get("one")) == (opened, None)
            nobody.set(leading=True)
            for _ in range(50):
                await asyncio.sleep(0)
            line.let_go()
            taken = await other.desk.acknowledge("policy:one", "mary", "")
            assert taken.state is State.ACKNOWLEDGED
            await one.until(lambda: one.get("one") == taken)
            recorded = sorted(operation for operation, _ in await one.recorded())
            assert recorded == ["escalation_acknowledged", "escalation_opened"]
