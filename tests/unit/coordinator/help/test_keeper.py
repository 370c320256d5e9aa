"""G9: whoever leads keeps requests on offer to the best idle swarms, whatever happens to those."""

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest

from infrafabric_server.coordinator.help.candidates import Candidates
from infrafabric_server.coordinator.models import Dispatch
from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.fleet.models import SessionRole, Status
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.governor.escalation.causes import help_cause
from infrafabric_server.governor.help.models import HelpRequest, HelpState, Urgency
from infrafabric_server.governor.helpers import Helper as IdleSwarm
from infrafabric_server.governor.policy.models import Helping, Policy
from infrafabric_server.governor.policy.verdicts import effective
from infrafabric_server.notify.models import StatusReport
from tests.harness.fabric import new_task
from tests.harness.replicas import Cluster, one_turn
from tests.unit.coordinator.help.kit import (
    accept,
    asked,
    blocked,
    drafts,
    helpers,
    seen,
    status,
)


async def test_g9_the_three_that_cover_most_are_asked_the_longest_waiting_first(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    await anna.join("half", {"gpu"})
    await anna.join("none", {"cpu"})
    await anna.coordinator.register_swarm("away", frozenset({"gpu", "cuda"}))
    await anna.join("boss", {"gpu", "cuda"}, role=SessionRole.ORCHESTRATOR)
    await helpers(cluster, "z", at="bert")
    await helpers(cluster, "b", "a")
    await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    assert seen(anna, request.help_id).asked_ids == ("z", "b", "a")
    (draft,) = await drafts(anna, "help_offered")
    assert draft.details["asked"] == ["z", "b", "a"]
    assert draft.details["policy_hash"]
    # The next one only when a place is free.
    assert (await accept(anna, request.help_id, "b")).accepted
    await cluster.pass_time(31)
    after = seen(anna, request.help_id)
    assert (after.helper_ids, after.asked_ids) == (("b",), ("half",))
    assert after.passed == ("z", "a")


async def test_g9_offers_that_run_out_go_to_the_next_and_come_back_at_the_end(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    await helpers(cluster, "a", "b", "c", "d")
    await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    turns = [seen(anna, request.help_id).asked_ids]
    for _ in range(3):
        await cluster.pass_time(29)
        assert seen(anna, request.help_id).asked_ids == turns[-1]
        await cluster.pass_time(1)
        turns.append(seen(anna, request.help_id).asked_ids)
    assert turns == [("a", "b", "c"), ("d",), ("a", "b", "c"), ("d",)]
    assert [each.details["asked"] for each in await drafts(anna, "help_offer_ended")] == [
        ["a", "b", "c"],
        ["d"],
        ["a", "b", "c"],
    ]


async def test_g9_an_offer_to_one_that_is_gone_or_busy_goes_on_at_once(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    links = await helpers(cluster, "a", "b", "c", "d", "e", "f", at="bert")
    await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    assert seen(anna, request.help_id).asked_ids == ("a", "b", "c")
    await bert.coordinator.sessions.close(links["a"], "bye")
    await cluster.settled()
    assert seen(anna, request.help_id).asked_ids == ("b", "c", "d")
    await cluster["bert"].notify.notify(StatusReport(swarm_id="b", status=Status.BUSY))
    await cluster.settled()
    assert seen(anna, request.help_id).asked_ids == ("c", "d", "e")
    await bert.breakers.trip("c", BreakerCause.MANUAL, "odd answers")
    await cluster.settled()
    assert seen(anna, request.help_id).asked_ids == ("d", "e", "f")
    # Nobody is left; each of them comes back as it can be asked again.
    await bert.coordinator.registration.deregister("f")
    await cluster.settled()
    assert seen(anna, request.help_id).asked_ids == ("d", "e")
    await bert.breakers.reset("c", "Ann", "fixed")
    await cluster.settled()
    assert seen(anna, request.help_id).asked_ids == ("d", "e", "c")


async def test_g9_the_more_urgent_request_has_the_swarm_then_the_older_one(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    made = {}
    for n, urgency in enumerate((Urgency.LOW, Urgency.LOW, Urgency.HIGH)):
        await blocked(anna, f"a{n}", f"t{n}")
        made[n] = await asked(anna, f"a{n}", task_id=f"t{n}", urgency=urgency)
        await cluster.pass_time(1)
    await helpers(cluster, "h")
    await cluster.settled()
    order = []
    for _ in range(3):
        asking = [n for n, each in made.items() if seen(anna, each.help_id).asked]
        assert len(asking) == 1
        order += asking
        await cluster.pass_time(30)
        (n,) = asking
        await anna.coordinator.resolve_blocker(f"a{n}", f"t{n}", "")
        await cluster.settled()
    assert order == [2, 0, 1]


async def test_g9_help_that_nobody_fits_asks_a_person_until_one_that_fits_is_idle(
    cluster: Cluster,
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await anna.join("cpu", {"cpu"})
    await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    await cluster.pass_time(0.9)
    assert seen(bert, request.help_id).state is HelpState.OPEN
    await cluster.pass_time(0.1)
    found = seen(bert, request.help_id)
    assert found.state is HelpState.UNQUALIFIED
    (draft,) = await drafts(anna, "help_unqualified")
    assert draft.details["needs"] == ["cuda", "gpu"]
    cause = help_cause(found)
    assert cause is not None
    assert cause.escalation_id == f"help:{request.help_id}"
    assert "nobody idle covered cuda, gpu" in cause.summary
    await helpers(cluster, "h", at="bert")
    await cluster.settled()
    found = seen(bert, request.help_id)
    assert (found.state, found.asked_ids) == (HelpState.OPEN, ("h",))
    assert help_cause(found) is None
    # Whoever let it run out is asked again, for there is nobody else.
    await cluster.pass_time(30)
    assert seen(anna, request.help_id).asked_ids == ("h",)
    assert (await accept(anna, request.help_id, "h")).accepted


async def test_g9_a_swarm_that_is_idle_a_moment_later_is_asked_and_no_person(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    await cluster.pass_time(0.9)
    await helpers(cluster, "h", at="bert")
    await cluster.settled()
    await cluster.pass_time(5)
    found = seen(anna, request.help_id)
    assert (found.state, found.asked_ids) == (HelpState.OPEN, ("h",))
    assert not await drafts(anna, "help_unqualified")
    await cluster.settled()
    assert seen(anna, request.help_id).state is HelpState.OPEN


async def test_g9_a_request_that_settles_while_somebody_is_tried_for_it_asks_a_person(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = cluster["anna"].fabric
    await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    of = Candidates.of

    async def slow(
        candidates: Candidates, request: HelpRequest, among: Iterable[str] | None = None
    ) -> list[IdleSwarm]:
        # Whoever was idle a moment ago is not any more, and the second passes meanwhile.
        await cluster.clock.advance(1)
        await of(candidates, request, among)
        return []

    monkeypatch.setattr(Candidates, "of", slow)
    await cluster.clock.advance(0.5)
    await helpers(cluster, "h", at="bert")
    await cluster.settled()
    assert seen(anna, request.help_id).state is HelpState.UNQUALIFIED


async def test_g9_a_critical_request_asks_a_person_though_it_is_staffed(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    await blocked(anna)
    request = await asked(anna, urgency=Urgency.CRITICAL)
    for n in range(3):
        await anna.coordinator.register_swarm(f"s{n}")
        assert (await accept(anna, request.help_id, f"s{n}")).accepted
    found = seen(anna, request.help_id)
    assert found.state is HelpState.STAFFED
    cause = help_cause(found)
    assert cause is not None
    assert cause.summary == "swarm asker asked for help on task t (critical): no driver fits"
    await anna.coordinator.resolve_blocker("asker", "t", "")
    await cluster.settled()
    assert help_cause(seen(anna, request.help_id)) is None


async def test_g9_a_helper_that_dies_leaves_its_place_to_the_next(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    links = await helpers(cluster, "a", at="bert")
    await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    assert (await accept(bert, request.help_id, "a")).accepted
    await anna.coordinator.register_swarm("by-hand", frozenset({"gpu"}))
    assert (await accept(anna, request.help_id, "by-hand")).accepted
    await cluster.settled()
    await bert.store.revoke(links["a"].lease)
    await helpers(cluster, "b")
    await cluster.settled()
    found = seen(anna, request.help_id)
    # One that accepted without a session has none to lose.
    assert (found.helper_ids, found.asked_ids) == (("by-hand",), ("b",))
    (draft,) = await drafts(anna, "help_left")
    assert draft.details["helpers"] == ["a"]
    await anna.coordinator.registration.deregister("by-hand")
    await cluster.settled()
    assert seen(anna, request.help_id).helper_ids == ()


async def test_g6_a_helper_whose_time_to_halt_is_over_helps_no_more(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    await helpers(cluster, "a")
    await blocked(anna)
    request = await asked(anna)
    assert (await accept(anna, request.help_id, "a")).accepted
    await anna.breakers.trip("a", BreakerCause.MANUAL, "odd answers")
    await cluster.pass_time(29)
    assert seen(anna, request.help_id).helper_ids == ("a",)
    await cluster.pass_time(2)
    assert seen(anna, request.help_id).helper_ids == ()


async def test_g9_nobody_is_asked_while_the_fabric_is_held(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    await helpers(cluster, "a")
    await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    assert seen(anna, request.help_id).asked_ids == ("a",)
    await anna.breakers.trip("", BreakerCause.MANUAL, "maintenance")
    await cluster.settled()
    found = seen(anna, request.help_id)
    assert (found.state, found.asked_ids) == (HelpState.OPEN, ())
    await anna.breakers.reset("", "Ann", "done")
    await cluster.settled()
    assert seen(anna, request.help_id).asked_ids == ("a",)


async def test_g9_the_policy_says_how_many_who_fits_and_for_how_long(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    for n in range(3):
        await anna.join(f"half{n}", {"gpu"})
    await helpers(cluster, "full")
    await blocked(anna)
    settings = Helping.model_validate(
        {"max_swarms_per_task": 2, "min_coverage": 0.51, "offer_for": "5s"}
    )
    policies = anna.parts.help.policies
    policies.install(effective(Policy(help=settings), "hash"))
    request = await asked(anna)
    assert request.max_helpers == 2
    await cluster.settled()
    assert seen(anna, request.help_id).asked_ids == ("full",)
    policies.install(effective(Policy(), "other"))
    await cluster.settled()
    found = seen(anna, request.help_id)
    assert (found.max_helpers, found.asked_ids) == (2, ("full", "half0"))
    policies.install(effective(Policy(help=settings), "hash"))
    await cluster.settled()
    begun = anna.clock.now()
    for seconds in (4, 1):
        assert {each.time for each in seen(anna, request.help_id).asked} == {begun}
        await cluster.pass_time(seconds)
    # There is nobody else: it is asked once more.
    found = seen(anna, request.help_id)
    assert (found.asked_ids, found.asked[0].time) == (("full",), anna.clock.now())


async def test_g9_who_helps_is_busy_and_is_given_nothing_until_it_is_over(
    cluster: Cluster,
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    await helpers(cluster, "h", at="bert")
    await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    assert status(anna, "h") is Status.IDLE
    assert (await accept(bert, request.help_id, "h")).accepted
    await cluster.settled()
    assert status(anna, "h") is Status.BUSY
    await anna.create(new_task("more", needs={"gpu", "cuda"}))
    await bert.create(new_task("cast", needs={"gpu", "cuda"}, dispatch=Dispatch.BROADCAST))
    await cluster.settled()
    assert anna.task("more").claim is None
    # By its own word it may take more.
    assert (await bert.coordinator.claim_task("h", "cast")).claimed
    await bert.coordinator.claims.complete("h", "cast", 1, result_json="{}", cost_micros=0)
    await cluster.settled()
    assert status(anna, "h") is Status.BUSY
    await anna.coordinator.resolve_blocker("asker", "t", "")
    await cluster.settled()
    assert anna.coordinator.held_by("h") == ["more"]
    attempt = anna.task("more").attempt
    await bert.coordinator.claims.complete("h", "more", attempt, result_json="", cost_micros=0)
    await cluster.settled()
    assert status(anna, "h") is Status.IDLE


async def test_g9_no_more_than_the_first_requests_are_on_offer_at_a_time(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    cluster["anna"].lead(leading=False)
    await helpers(cluster, *(f"h{n}" for n in range(9)))
    made = []
    for n, urgency in enumerate((Urgency.LOW, Urgency.LOW, Urgency.HIGH, Urgency.LOW)):
        await blocked(anna, f"a{n}", f"t{n}")
        made.append((await asked(anna, f"a{n}", task_id=f"t{n}", urgency=urgency)).help_id)
        await cluster.pass_time(1)
    keeper = anna.parts.help.keeper(anna.breakers.records, SoleLeader(), most=2, sleep=one_turn)

    async def on_offer() -> list[int]:
        await cluster.settled()
        while not keeper.resting:
            await one_turn(0)
        return [n for n, help_id in enumerate(made) if seen(anna, help_id).asked]

    running = asyncio.create_task(keeper.run())
    await one_turn(0)
    assert await on_offer() == [0, 2]
    await anna.coordinator.resolve_blocker("a0", "t0", "")
    assert await on_offer() == [1, 2]
    # What is on offer already stays so, and what is more urgent comes beside it.
    await asked(anna, "a3", task_id="t3", urgency=Urgency.CRITICAL)
    assert await on_offer() == [1, 2, 3]
    running.cancel()


async def test_g9_swarms_that_become_idle_at_once_do_not_hold_up_the_event_loop(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = cluster["anna"].fabric
    idle = [f"idle{number}" for number in range(40)]
    await helpers(cluster, *idle)
    for number in range(60):
        await blocked(anna, f"asker{number}", f"t{number}")
        await asked(anna, f"asker{number}", task_id=f"t{number}", needs=frozenset({"none"}))
    await cluster.settled()
    turns: Counter[int] = Counter()
    turn, over, covers = 0, False, Candidates.covers

    def counted(candidates: Candidates, request: HelpRequest, swarm_id: str) -> bool:
        turns[turn] += 1
        return covers(candidates, request, swarm_id)

    async def watch() -> None:
        nonlocal turn
        while not over:
            turn += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(Candidates, "covers", counted)
    watching = asyncio.create_task(watch())
    statuses = anna.fleet.statuses
    writes = []
    for each in idle:
        known = statuses.get(each)
        assert known is not None
        writes.append(
            statuses.put(each, known.model_copy(update={"waiting_since": anna.clock.now()}))
        )
    await cluster.pass_time(1)
    await anna.mirror.commit([], writes)
    await cluster.settled()
    over = True
    await watching
    assert turns.total() >= 60 * 40
    assert max(turns.values()) <= 1_024 + 40
