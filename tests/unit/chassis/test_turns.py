"""Waiting for a turn: refused beyond the bounds, given up without a trace."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from infrafabric_server.chassis.turns import Turns
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Containing, Policy


def turns(running: int, per_swarm: int = 2, waiting: int = 3) -> Turns:
    bounds = Containing(max_running=running, max_waiting_per_swarm=per_swarm, max_waiting=waiting)
    return Turns(PolicyBook(Policy(chassis=bounds)))


async def waits(queue: Turns, swarm_id: str, order: list[str]) -> None:
    async with queue.turn(swarm_id):
        order.append(swarm_id)


async def test_x7_turns_go_round_the_swarms_whoever_asks_most() -> None:
    queue, order = turns(running=1, per_swarm=9, waiting=9), list[str]()
    async with asyncio.TaskGroup() as group, queue.turn("a"):
        for swarm_id in ("a", "a", "a", "b", "c"):
            group.create_task(waits(queue, swarm_id, order))
        await asyncio.sleep(0)
    assert order == ["b", "c", "a", "a", "a"]
    assert queue.running == 0


async def test_x7_beyond_the_bounds_a_run_is_refused_at_once() -> None:
    queue = turns(running=1)
    async with asyncio.TaskGroup() as group, queue.turn("a"):
        waiting = [group.create_task(waits(queue, each, [])) for each in ("a", "a", "b")]
        await asyncio.sleep(0)
        for swarm_id, why in (("a", "2 runs of a wait"), ("c", "3 runs wait at this server")):
            with pytest.raises(FabricError, match=why) as refused:
                await waits(queue, swarm_id, [])
            assert refused.value.reason is Reason.QUEUE_FULL
            assert refused.value.retry_after
        assert not any(each.done() for each in waiting)


@pytest.mark.parametrize("served", [False, True], ids=["waiting", "at its turn"])
async def test_who_gives_up_leaves_the_turn_to_the_next(served: bool) -> None:
    queue, order = turns(running=1), list[str]()
    async with asyncio.TaskGroup() as group, AsyncExitStack() as first:
        await first.enter_async_context(queue.turn("a"))
        given_up = group.create_task(waits(queue, "b", order))
        following = group.create_task(waits(queue, "c", order))
        await asyncio.sleep(0)
        if served:
            await first.aclose()
        given_up.cancel()
        await asyncio.wait((given_up,))
        await first.aclose()
        await following
    assert order == ["c"]
    assert queue.running == 0
