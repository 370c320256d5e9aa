"""G9: how many requests for help there may be, of a swarm and in all, live and ended ones."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from infrafabric_server.coordinator.help.order import Order
from infrafabric_server.coordinator.help.room import Room
from infrafabric_server.coordinator.link import SessionLink
from infrafabric_server.coordinator.models import Dispatch
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.governor.help.models import HelpRequest, Urgency
from infrafabric_server.governor.help.rules import MAX_LIVE_PER_SWARM
from tests.harness.fabric import Fabric
from tests.harness.replicas import Cluster, one_turn
from tests.unit.coordinator.help.kit import NEEDS, accept, asked, blocked, refused
from tests.unit.coordinator.money import priced

FIRST = datetime(2026, 1, 1, tzinfo=UTC)


async def holding(fabric: Fabric, swarm_id: str, number: int) -> tuple[SessionLink, list[str]]:
    """Have a swarm hold so many tasks; return its session and them."""
    link = await fabric.join(swarm_id, {"any"}, slots=number)
    tasks = [f"t{n}" for n in range(number)]
    await fabric.create(*((priced(each, 100), Dispatch.MANUAL) for each in tasks))
    for task_id in tasks:
        with link.claims(task_id):
            claim = await fabric.coordinator.claims.claim(swarm_id, task_id, link.epoch)
            assert claim.claimed
    return link, tasks


async def test_g9_a_swarm_has_so_many_live_requests_and_no_more(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    link, tasks = await holding(anna, "asker", MAX_LIVE_PER_SWARM)
    await anna.create((priced("more", 100), Dispatch.MANUAL))
    made = await asyncio.gather(*(asked(anna, task_id=each) for each in tasks))
    await cluster.settled()
    assert len({each.help_id for each in made}) == MAX_LIVE_PER_SWARM
    # Its slots are free again, as all of its tasks are parked.
    with link.claims("more"):
        assert (await anna.coordinator.claims.claim("asker", "more", link.epoch)).claimed
    refusal = await refused(asked(bert, task_id="more"))
    assert refusal.reason is Reason.LIMIT_REACHED
    assert [each.field for each in refusal.fields] == ["swarm_id"]
    assert refusal.fields[0].rule == "must have fewer than 64 live requests for help to make one"
    # It was not parked for nothing, what is live already may be asked for anew, and an end is room.
    task = anna.task("more")
    assert task.claim is not None
    assert not task.claim.parked
    assert (await asked(anna, task_id="t1", reason="worse")).help_id == made[1].help_id
    await anna.coordinator.resolve_blocker("asker", "t1", "found")
    assert (await asked(bert, task_id="more")).task_id == "more"


async def test_g9_what_is_being_written_counts(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    help_ = anna.parts.help
    room = Room(anna.coordinator.help, help_.involved, help_.liveness, most=3, most_per_swarm=2)
    await blocked(anna)
    await asked(anna)
    with room.place("asker"):
        with pytest.raises(FabricError, match="swarm_id: must have fewer than 2 live requests"):
            room.place("asker").__enter__()
        with room.place("other"), pytest.raises(FabricError, match="fewer than 3 live ones"):
            room.place("third").__enter__()
    with room.place("third"):
        pass


async def test_g9_what_a_swarm_accepted_at_another_replica_takes_its_slots(
    cluster: Cluster,
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    for n in range(2):
        await blocked(anna, f"a{n}", f"t{n}")
    made = [(await asked(anna, f"a{n}", task_id=f"t{n}")).help_id for n in range(2)]
    await anna.coordinator.register_swarm("helper", NEEDS)
    await cluster.settled()
    cluster["bert"].fall_behind()
    assert (await accept(anna, made[0], "helper")).accepted
    second = asyncio.create_task(accept(bert, made[1], "helper"))
    await one_turn(0)
    cluster["bert"].come_along()
    assert "as many requests as it has slots, 1" in (await second).refusal


async def test_g9_those_that_ended_first_make_room(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    cluster["anna"].lead(leading=False)
    made = []
    for n in range(4):
        await blocked(anna, f"a{n}", f"t{n}")
        made.append((await asked(anna, f"a{n}", task_id=f"t{n}")).help_id)
        await cluster.pass_time(1)
    keeper = anna.parts.help.keeper(
        anna.breakers.records, SoleLeader(), most_ended=2, sleep=one_turn
    )
    running = asyncio.create_task(keeper.run())
    for n in (2, 0, 3):
        await anna.coordinator.resolve_blocker(f"a{n}", f"t{n}", "")
        await cluster.pass_time(1)
        while not keeper.resting:
            await one_turn(0)
    assert list(anna.coordinator.help) == [made[0], made[1], made[3]]
    running.cancel()


def request(number: int, *, end: int | None = None, urgency: Urgency = Urgency.LOW) -> HelpRequest:
    """Return one that was made at a second, and ended at another."""
    time = FIRST + timedelta(seconds=number)
    over = None if end is None else FIRST + timedelta(seconds=end)
    return HelpRequest(
        help_id=f"h{number}",
        swarm_id="s",
        task_id="t",
        attempt=1,
        reason="stuck",
        needs=NEEDS,
        urgency=urgency,
        max_helpers=1,
        create_time=time,
        update_time=time,
        end_time=over,
    )


def test_g9_whoever_leaves_the_first_has_the_next_looked_at() -> None:
    order = Order(most_on_offer=2, most_ended=1)
    for n in range(4):
        assert order.change(None, request(n)) == []
    assert [order.on_offer(request(n)) for n in range(4)] == [True, True, False, False]
    assert order.change(request(3), request(3, urgency=Urgency.HIGH)) == ["h1"]
    assert order.on_offer(request(3, urgency=Urgency.HIGH))
    assert order.change(request(0), request(0, end=9)) == ["h1"]
    assert not order.makes_room(request(0, end=9))
    assert order.change(request(1), request(1, end=8)) == ["h2", "h1"]
    assert order.makes_room(request(1, end=8))
    assert not order.makes_room(request(0, end=9))
    assert order.change(request(1, end=8), None) == []
    assert not order.makes_room(request(0, end=9))
    assert order.live
    order.clear()
    assert not order.live


@pytest.mark.parametrize("order_of_ends", [range(6), range(5, -1, -1), (3, 0, 5, 1, 4, 2)])
def test_g9_all_that_are_too_many_are_looked_at_however_many_end_at_once(
    order_of_ends: Iterable[int],
) -> None:
    order = Order(most_on_offer=9, most_ended=2)
    ended = [request(n, end=9 + n) for n in range(6)]
    for n in range(6):
        order.change(None, request(n))
    leaving: set[str] = set()
    for n in order_of_ends:
        # Whatever changes is looked at itself, as it is then.
        looked = [f"h{n}", *order.change(request(n), ended[n])]
        leaving |= {each for each in looked if order.makes_room(ended[int(each[1:])])}
    assert leaving == {"h0", "h1", "h2", "h3"}
    for each in ended[:4]:
        assert order.makes_room(each)
        order.change(each, None)
    assert not any(map(order.makes_room, ended[4:]))
