"""G9: sessions are told how requests stand that they have to do with, on whichever replica."""

from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.governor.help.models import HelpRequest, HelpState, Urgency
from tests.harness.replicas import Cluster
from tests.unit.coordinator.help.kit import NEEDS, accept, asked, blocked, cost, helpers, told
from tests.unit.coordinator.money import DOLLAR


def brief(requests: list[HelpRequest]) -> list[tuple[HelpState, tuple[str, ...], tuple[str, ...]]]:
    """Return what is told: the state, who helps, who is asked."""
    return [(each.state, each.helper_ids, each.asked_ids) for each in requests]


async def test_g9_each_is_told_what_concerns_it_and_no_more(cluster: Cluster) -> None:
    anna = cluster["anna"].fabric
    links = await helpers(cluster, "a", "b", at="bert")
    boss = await anna.join("boss", role=SessionRole.ORCHESTRATOR)
    asker = await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    offer = (HelpState.OPEN, (), ("a", "b"))
    assert brief(await told(asker)) == [(HelpState.OPEN, (), ())]
    assert brief(await told(links["a"])) == brief(await told(links["b"])) == [offer]
    assert (await accept(anna, request.help_id, "a")).accepted
    await cluster.settled()
    helping = (HelpState.OPEN, ("a",), ("b",))
    assert brief(await told(asker)) == brief(await told(links["a"])) == [helping]
    assert await told(links["b"]) == []
    # What is spent is no news, what is asked for anew is.
    await anna.coordinator.costs.track(cost(request.help_id, "a", 5))
    await asked(anna, urgency=Urgency.HIGH)
    await cluster.settled()
    for link in (asker, *links.values()):
        (news,) = await told(link)
        assert (news.urgency, news.left_micros) == (Urgency.HIGH, 2 * DOLLAR - 5)
    await cluster.pass_time(30)
    # The offer ran out, and there is nobody else to be asked.
    assert brief(await told(links["b"])) == [helping]
    await anna.coordinator.resolve_blocker("asker", "t", "found one")
    await cluster.settled()
    over = (HelpState.ENDED, ("a",), ())
    for link in (asker, *links.values()):
        assert brief(await told(link)) == [over]
    assert await told(boss) == []


async def test_g9_an_offer_without_a_place_is_withdrawn_with_the_acceptance(
    cluster: Cluster,
) -> None:
    anna = cluster["anna"].fabric
    links = await helpers(cluster, "a", "b", "c")
    asker = await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    for n in range(2):
        await anna.coordinator.register_swarm(f"s{n}")
        await accept(anna, request.help_id, f"s{n}")
    await cluster.settled()
    assert [each.asked_ids for each in await told(links["c"])] == [("a", "b", "c"), ("a", "b")]
    assert (await accept(anna, request.help_id, "b")).accepted
    await cluster.settled()
    assert brief(await told(links["a"]))[-1] == (HelpState.STAFFED, ("s0", "s1", "b"), ())
    assert brief(await told(asker))[-1] == (HelpState.STAFFED, ("s0", "s1", "b"), ())


async def test_g9_a_session_is_told_again_when_it_resumes(cluster: Cluster) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    links = await helpers(cluster, "a", "b")
    await blocked(anna)
    request = await asked(anna)
    await cluster.settled()
    await accept(anna, request.help_id, "a")
    await cluster.settled()
    assert len(await told(links["b"])) == 1
    # Another process of the asker, another replica for a helper and for one that is asked.
    for swarm_id in ("a", "b"):
        anna.coordinator.sessions.detach(links[swarm_id])
        again = await bert.join(swarm_id, {*NEEDS})
        assert brief(await told(again)) == [(HelpState.OPEN, ("a",), ("b",))]
    stranger = await bert.join("c", {"other"})
    assert await told(stranger) == []


async def test_g9_what_ended_while_a_stream_was_cut_is_told_when_it_resumes(
    cluster: Cluster,
) -> None:
    anna, bert = cluster["anna"].fabric, cluster["bert"].fabric
    link = (await helpers(cluster, "a"))["a"]
    frames, _ = await link.take(1)
    token = getattr(frames[0], "resume_token", "")
    await blocked(anna)
    request = await asked(anna)
    await accept(anna, request.help_id, "a")
    await cluster.settled()
    anna.coordinator.sessions.detach(link)
    await anna.coordinator.resolve_blocker("asker", "t", "found one")
    await cluster.settled()
    resumed = await bert.join("a", {*NEEDS}, token=token)
    assert brief(await told(resumed)) == [(HelpState.ENDED, ("a",), ())]
    begun = await bert.join("a", {*NEEDS})
    assert await told(begun) == []
