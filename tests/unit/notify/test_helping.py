"""G9: who helps is busy, and idle again when that is over, whatever happens in between."""

import pytest

from infrafabric_server.coordinator.models import Dispatch
from infrafabric_server.fleet.models import Status
from infrafabric_server.governor.help.models import Wanted
from infrafabric_server.notify import rules
from infrafabric_server.notify.models import (
    Claimed,
    Completed,
    Dropped,
    Helped,
    Helping,
    News,
    Situation,
)
from infrafabric_server.store.memory import MemoryData
from tests.harness.fabric import new_task
from tests.unit.notify.statuses import NOW, WORKER, status
from tests.unit.notify.world import World

HELPS = Situation(session=WORKER, helping=("theirs",))
BOTH = Situation(session=WORKER, working=("mine",), helping=("theirs",))
FREE = Situation(session=WORKER)


async def helped(world: World) -> str:
    """Have `h` help `s` with `t`; return the id of the request."""
    await world.fabric.join("s", {"any"})
    await world.fabric.create(new_task("t", dispatch=Dispatch.MANUAL))
    assert (await world.coordinator.claim_task("s", "t")).claimed
    needs = frozenset({"gpu"})
    request = await world.coordinator.help_requests.request(Wanted("s", "t", 1, "why", needs))
    assert (await world.coordinator.help_requests.accept(request.help_id, "h")).accepted
    return request.help_id


def is_now(world: World, kind: Status) -> bool:
    """Tell whether that is the status of the helper."""
    known = world.status("h")
    return known is not None and known.status is kind


async def ended(world: World, help_id: str) -> None:
    """End a request, as whoever leads does."""
    view = world.coordinator.help
    request = view.get(help_id)
    assert request is not None
    over = request.model_copy(update={"end_time": world.clock.now()})
    await world.mirror.commit([], [view.put(help_id, over)])


MINE = Situation(session=WORKER, working=("mine",))
GIVEN_BACK = Dropped("mine", own_word=True)


@pytest.mark.parametrize(
    ("news", "situation", "kind", "last_task"),
    [
        ([Helping("theirs")], HELPS, Status.BUSY, "theirs"),
        ([Helping("theirs"), Helped("theirs")], FREE, Status.IDLE, "theirs"),
        ([Helping("theirs"), Claimed("mine")], BOTH, Status.BUSY, "mine"),
        ([Claimed("mine"), Helping("theirs"), GIVEN_BACK], HELPS, Status.BUSY, "theirs"),
        ([Claimed("mine"), Helping("theirs"), Helped("theirs")], MINE, Status.BUSY, "mine"),
    ],
)
def test_g9_a_status_follows_help_as_it_follows_claims(
    news: list[News], situation: Situation, kind: Status, last_task: str
) -> None:
    after = rules.fold(status(connected=True), news, situation, NOW)
    assert (after.status, after.last_task, after.declared) == (kind, last_task, False)


def test_g9_a_completion_leaves_a_helper_busy() -> None:
    before = status(Status.BUSY, connected=True, last_task="mine")
    done = rules.fold(before, [Completed("mine", 0, 9)], HELPS, NOW)
    assert done.status is Status.COMPLETED
    assert rules.settle(done, HELPS, NOW).status is Status.BUSY


def test_g9_who_declares_itself_busy_stays_so_when_the_help_is_over() -> None:
    before = status(Status.BUSY, connected=True, declared=True, last_task="tea")
    assert rules.fold(before, [Helped("theirs")], FREE, NOW).status is Status.BUSY


async def test_g9_a_crash_between_help_and_its_effect_on_a_status_leaves_no_gap() -> None:
    data = MemoryData()
    async with World(data) as world:
        await world.fabric.join("h", {"gpu"})
        await world.until(lambda: is_now(world, Status.IDLE))
    async with World(data, notifying=False) as world:
        help_id = await helped(world)
        assert is_now(world, Status.IDLE)
    async with World(data) as world:
        await world.until(lambda: is_now(world, Status.BUSY))
    async with World(data, notifying=False) as world:
        await ended(world, help_id)
        assert is_now(world, Status.BUSY)
    async with World(data) as world:
        await world.until(lambda: is_now(world, Status.IDLE))
