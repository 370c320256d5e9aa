"""One log of several replicas: whatever happens when, nothing is lost and nothing sealed twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrafabric_server.witness.chain import verify
from tests.unit.witness.simulation import Waiter, World
from tests.unit.witness.support import everything

ResultT = TypeVar("ResultT")


async def inline(work: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """Do at once what is done in a thread otherwise: the order shall be the test's alone."""
    return work(*arguments)


@asynccontextmanager
async def world(count: int) -> AsyncIterator[World]:
    """Run `count` replicas until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "to_thread", inline)
        it = await World.make(count)
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(work())
                for replica in it.replicas
                for work in (replica.follow, replica.sealer.run, replica.copy.run)
            ]
            yield it
            for task in running:
                task.cancel()
        await it.store.close()


async def check(it: World) -> None:
    """Bring `it` to rest; the log must be one chain of all decisions, and so every copy."""
    await it.finish()
    sealed = it.stream.entries()
    assert verify(sealed).broken is None
    assert [entry.entry_id for entry in sealed] == it.decided
    for replica in it.replicas:
        assert await everything(replica.file) == sealed


async def until(it: World, who: str, call: str) -> Waiter:
    """Let the calls of `who` through until it makes `call`, which is left waiting."""
    for _ in range(50):
        await it.quiet()
        mine = [waiter for waiter in it.gates.waiting if waiter.who == who]
        for waiter in mine:
            if waiter.call == call:
                return waiter
        for waiter in mine:
            waiter.future.set_result("well")
    raise AssertionError(f"{who} never came to {call}")


CALLS = ["create", "last", "last answered", "range", "append", "appended", "txn", "txn answered"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("aware", [True, False])
async def test_w1_a_leader_can_be_followed_at_every_step(call: str, *, aware: bool) -> None:
    """The old one stands still at `call`; it learns that it was followed only later, or goes on."""
    async with world(2) as it:
        old, new = it.replicas
        await it.decide(old, 3)
        await it.elect(old)
        stuck = await until(it, old.name, call)
        await it.decide(new, 2)
        await it.elect(new)
        if aware:
            old.leadership.end()
        # The new leader seals what the old one may be in the middle of sealing.
        await it.work(new)
        recorded = await it.recorded()
        if not stuck.future.done():
            stuck.future.set_result("well")
        await it.quiet()
        assert await it.recorded() == recorded == 5
        await it.decide(old, 2)
        await check(it)


async def test_w1_a_leader_that_was_followed_appends_once_at_most() -> None:
    """It may not know, but as it cannot remove what it appended, it does not go on."""
    async with world(2) as it:
        old, new = it.replicas
        await it.decide(old, 6)
        await it.elect(old)
        (await until(it, old.name, "append")).future.set_result("well")
        await until(it, old.name, "txn")
        await it.elect(new)
        for _ in range(20):
            (await until(it, old.name, "txn")).future.set_result("well")
        assert len(it.stream.payloads) == 1
        assert await it.recorded() == 0
        await check(it)


async def test_w1_an_answer_of_the_store_that_is_late_brings_nothing_back() -> None:
    """The outbox was read before two messages of it were removed, and is answered after that."""
    async with world(1) as it:
        (replica,) = it.replicas
        await it.decide(replica, 6)
        await it.elect(replica)
        await until(it, "r0", "append")
        await it.decide(replica, 1)
        (await until(it, "r0", "watch")).future.set_result("behind")
        await it.work(replica, "range answered")
        assert len(it.stream.payloads) > 2
        await it.work(replica)
        await check(it)


@pytest.mark.parametrize("leads", [True, False])
async def test_w1_what_is_decided_while_the_mirror_starts_over_is_held(*, leads: bool) -> None:
    """Its news hung until the store had forgotten the next ones; the outbox is read anew."""
    async with world(2) as it:
        behind, other = it.replicas
        await it.work(behind)
        await it.elect(behind if leads else other)
        await until(it, behind.name, "watch")
        await it.decide(behind, 3)
        await it.decide(other, 1)
        await it.store.compact(await it.store.revision())
        await until(it, behind.name, "range answered")
        await it.decide(other, 2)
        # The news go on, but the outbox, which was read before them, is not here yet.
        await it.work(behind, "range answered")
        assert len(behind.sealer) == 0
        assert it.stream.entries() == []
        await it.work(behind)
        assert len(behind.sealer) == (0 if leads else 6)
        assert len(it.stream.entries()) == (6 if leads else 0)
        await check(it)


@pytest.mark.parametrize("ending", ["lost", "cut", "late"])
async def test_w1_an_append_without_answer_is_looked_up(ending: str) -> None:
    async with world(1) as it:
        await it.decide(it.replicas[0], 3)
        await it.elect(it.replicas[0])
        (await until(it, "r0", "append")).future.set_result(ending)
        await it.decide(it.replicas[0], 2)
        await until(it, "r0", "append" if ending != "cut" else "txn")
        await check(it)


async def test_w1_a_late_message_of_a_leader_that_was_followed_is_refused() -> None:
    async with world(2) as it:
        old, new = it.replicas
        await it.decide(old, 3)
        await it.elect(old)
        (await until(it, "r0", "append")).future.set_result("late")
        old.leadership.end()
        await it.elect(new)
        (await until(it, "r1", "append")).future.set_result("well")
        await it.quiet()
        assert len(it.stream.payloads) == 1
        await old.stream.arrive()
        assert len(it.stream.payloads) == 1
        await check(it)


@pytest.mark.parametrize("seen", [True, False])
async def test_w1_an_old_view_of_the_outbox_seals_nothing_again(*, seen: bool) -> None:
    """The new leader's watch hangs: what it tells was sealed and removed two messages ago."""
    async with world(2) as it:
        old, new = it.replicas
        if not seen:
            await it.work(new)
        await it.decide(old, 2)
        await it.work(new, "watch")
        assert len(new.sealer) == (2 if seen else 0)
        await it.elect(old)
        for _ in range(2):
            (await until(it, old.name, "txn answered")).future.set_result("well")
            await it.decide(old, 1)
        (await until(it, old.name, "appended")).future.set_result("cut")
        await it.quiet()
        old.leadership.end()
        await it.elect(new)
        await it.work(new, "watch")
        assert len(it.stream.entries()) == 4
        # The watch goes on, one change after the other, and there is time to act on each.
        for _ in range(4):
            (await until(it, new.name, "watch")).future.set_result("well")
            await it.work(new, "watch")
        assert len(it.stream.entries()) == 4
        await check(it)


def choose(waiting: list[Waiter], data: st.DataObject) -> None:
    """Let one call through, and choose how it ends."""
    waiter = data.draw(st.sampled_from(waiting), label="call")
    waiter.future.set_result(data.draw(st.sampled_from(waiter.endings), label="ending"))


ACTIONS = ["pass"] * 8 + ["decide", "elect", "notice", "arrive"]


@settings(max_examples=60, deadline=None)
@given(st.data())
async def test_w1_no_order_of_events_loses_or_doubles_anything(data: st.DataObject) -> None:
    async with world(3) as it:
        await it.elect(it.replicas[0])
        recorded = 0
        for _ in range(data.draw(st.integers(10, 120), label="steps")):
            await it.quiet()
            action = data.draw(st.sampled_from(ACTIONS), label="action")
            replica = data.draw(st.sampled_from(it.replicas), label="replica")
            step: Awaitable[None] | None = None
            if action == "decide":
                step = it.decide(replica, data.draw(st.integers(1, 3)))
            elif action == "elect":
                step = it.elect(replica)
            elif action == "arrive" and replica.stream.late:
                step = replica.stream.arrive()
            if step is not None:
                await step
            elif action == "notice":
                replica.leadership.end()
            elif waiting := it.gates.waiting:
                choose(waiting, data)
            recorded, before = await it.recorded(), recorded
            assert recorded >= before
        await check(it)
