"""G9: the life of a request for help, over all histories that hypothesis can think of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from infrafabric_server.governor.help import rules
from infrafabric_server.governor.help.models import HelpRequest, HelpState, Urgency, Wanted
from infrafabric_server.governor.helpers import Helper as IdleSwarm
from infrafabric_server.limits import MAX_TEXT

NOW = datetime(2026, 1, 2, 3, tzinfo=UTC)
OFFER_FOR = timedelta(seconds=30)
HALF = Fraction(1, 2)
ASKER = "asker"
SWARMS = ("a", "b", "c", "d", "e")

swarms = st.sampled_from(SWARMS)
some = st.lists(swarms, unique=True)
amounts = st.integers(0, 100)


def wanted(needs: str = "xy", **said: Any) -> Wanted:
    """Return what the asker says, with a capability for each letter of `needs`."""
    call = Wanted(ASKER, "t", 1, "stuck", frozenset(needs), request_id="r")
    return replace(call, **said)


def new(most: int = 2, budget: int = 100) -> HelpRequest:
    """Return a request that nobody has been asked for."""
    return rules.requested("h", wanted(), NOW, budget_micros=budget, max_helpers=most)


def idle(*swarm_ids: str, can: str = "xy") -> list[IdleSwarm]:
    """Return idle swarms with a capability for each letter; the first has waited longest."""
    return [IdleSwarm(each, frozenset(can), place) for place, each in enumerate(swarm_ids)]


class Lives(RuleBasedStateMachine):
    """A request, and what was ever done to it."""

    @initialize(most=st.integers(1, 3), budget=amounts)
    def begin(self, most: int, budget: int) -> None:
        """Ask for help."""
        self.now = NOW
        self.request = new(most, budget)
        self.spent = 0
        self.covered = 0
        self.joined: list[str] = []

    def become(self, request: HelpRequest) -> None:
        """Take the next state; one that has ended stays as it is, but for being forgotten."""
        if self.request.ended:
            assert request == self.request
        self.request = HelpRequest.model_validate_json(request.model_dump_json())

    @rule(seconds=st.integers(0, 40))
    def wait(self, seconds: int) -> None:
        """Let time pass, and offers run out."""
        self.now += timedelta(seconds=seconds)
        gone = rules.lapsed(self.request, self.now, OFFER_FOR)
        lapse = rules.next_lapse(self.request, OFFER_FOR)
        assert bool(gone) is (lapse is not None and lapse <= self.now)
        self.become(rules.passed(self.request, gone))
        assert not rules.lapsed(self.request, self.now, OFFER_FOR)

    @rule(ids=some, can=st.sampled_from(["x", "xy", "z"]))
    def seek(self, ids: list[str], can: str) -> None:
        """Look for help among some idle swarms."""
        before, others = self.request, [each for each in ids if each not in self.request.swarm_ids]
        after = rules.sought(before, idle(*others, can=can), HALF, self.now)
        fresh = {*after.asked_ids} - {*before.asked_ids}
        if not before.ended and can != "z":
            unpassed = [each for each in others if each not in before.passed]
            assert len(fresh) >= min(before.places, len(unpassed))
            # Who let an offer run out is asked again only when nobody else is left.
            assert not (fresh & {*before.passed}) or not (unpassed or before.asked)
        if can == "z":
            assert not fresh
        self.become(after)

    @rule()
    def give_up(self) -> None:
        """Note that nobody fits."""
        self.become(rules.unqualified(self.request, self.now))

    @rule(swarm_id=swarms, in_session=st.booleans())
    def accept(self, swarm_id: str, in_session: bool) -> None:  # of hypothesis
        """Let a swarm accept, asked or not, if it may."""
        if self.request.ended or rules.refusal(self.request, swarm_id):
            return
        before = self.request
        if swarm_id not in before.helper_ids:
            assert len(before.helpers) < before.max_helpers
            self.joined.append(swarm_id)
        after = rules.accepted(before, swarm_id, self.now, in_session=in_session)
        assert rules.accepted(after, swarm_id, self.now, in_session=in_session) == after
        self.become(after)

    @rule(ids=some)
    def leave(self, ids: list[str]) -> None:
        """Let helpers go."""
        self.become(rules.left(self.request, ids, self.now))
        if not self.request.ended:
            self.joined = [each for each in self.joined if each not in ids]

    @rule(ids=some)
    def withdraw(self, ids: list[str]) -> None:
        """Take offers back."""
        self.become(rules.withdrawn(self.request, ids))

    @rule(micros=st.integers(1, 60))
    def spend(self, micros: int) -> None:
        """Let a helper spend money."""
        if self.request.ended:
            return
        self.spent += micros
        self.covered += rules.covered(self.request, micros)
        self.become(rules.spent(self.request, micros))

    @rule(needs=st.sampled_from(["xy", "x"]), most=st.integers(1, 3), more=amounts)
    def ask_anew(self, needs: str, most: int, more: int) -> None:
        """Ask for something else, with another budget."""
        budget, helpers = self.request.drawn_micros + more, self.request.helpers
        said = wanted(needs)
        after = rules.updated(self.request, said, self.now, budget_micros=budget, max_helpers=most)
        assert after.helpers == helpers
        assert self.request.ended or rules.repeats(after, said)
        self.become(after)

    @rule(cause=st.sampled_from(["done", "x" * (MAX_TEXT + 9)]))
    def end(self, cause: str) -> None:
        """End it."""
        self.become(rules.ended(self.request, cause, self.now))
        assert self.request.state is HelpState.ENDED

    @invariant()
    def who_is_who(self) -> None:
        """Nobody helps and is asked; the asker does neither; nobody twice."""
        request = self.request
        parts = [*request.helper_ids, *request.asked_ids]
        assert ASKER not in parts
        assert len(parts) == len({*parts})
        assert not {*parts} & {*request.passed}
        assert list(request.helper_ids) == self.joined
        if request.ended:
            assert not request.asked

    @invariant()
    def not_too_many(self) -> None:
        """All who are asked may accept."""
        request = self.request
        asked = len(request.asked)
        assert not asked or len(request.helpers) + asked <= request.max_helpers

    @invariant()
    def honest_money(self) -> None:
        """All that was spent is known, and the budget covered no more than it was."""
        request = self.request
        assert (request.spent_micros, request.drawn_micros) == (self.spent, self.covered)
        assert request.drawn_micros <= request.budget_micros
        assert request.left_micros == request.budget_micros - request.drawn_micros

    @invariant()
    def unqualified_means_nobody(self) -> None:
        """Nobody helps or is asked where a person is asked."""
        if self.request.state is HelpState.UNQUALIFIED:
            assert not self.request.helpers
            assert not self.request.asked


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_g9_the_best_are_asked_then_the_next_ones() -> None:
    request = rules.sought(new(), [*idle("a", can="x"), *idle("b", "c")], HALF, NOW)
    assert request.asked_ids == ("b", "c")
    later = NOW + OFFER_FOR
    request = rules.passed(request, rules.lapsed(request, later, OFFER_FOR))
    request = rules.sought(request, [*idle("a", can="x"), *idle("b", "c")], HALF, later)
    assert (request.asked_ids, request.passed) == (("a",), ("b", "c"))
    # The next round begins only when everybody has had a turn.
    assert rules.sought(request, idle("b", "c"), HALF, later) == request
    request = rules.sought(rules.passed(request, ["a"]), idle("b", "c"), HALF, later)
    assert (request.asked_ids, request.passed) == (("b", "c"), ())


@pytest.mark.parametrize(
    ("seconds", "settles"), [(-3600, False), (-0.01, True), (0, True), (0.9, True), (1, False)]
)
def test_g9_a_request_is_new_for_a_second_also_by_a_clock_that_is_a_moment_behind(
    seconds: float, settles: bool
) -> None:
    request, now = new(), NOW + timedelta(seconds=seconds)
    assert (rules.unqualified(request, now) == request) is settles
    assert (rules.next_unqualified(request, now) is not None) is settles


def test_g9_too_many_are_refused_with_the_numbers() -> None:
    request = new(most=1)
    assert rules.refusal(request, "a") == ""
    request = rules.accepted(request, "a", NOW, in_session=True)
    assert request.state is HelpState.STAFFED
    assert rules.refusal(request, "a") == ""
    assert rules.refusal(request, "b") == "1 help already, at most 1 may"


def test_g9_a_call_with_another_content_is_no_repeat() -> None:
    request = new(budget=50)
    assert rules.repeats(request, wanted())
    assert rules.repeats(request, wanted(budget_micros=50))
    for other in (
        wanted("x"),
        wanted(reason="other"),
        wanted(urgency=Urgency.HIGH),
        wanted(budget_micros=51),
        wanted(request_id="s"),
    ):
        assert not rules.repeats(request, other)
    unnamed = wanted(request_id="")
    request = rules.requested("h", unnamed, NOW, budget_micros=1, max_helpers=1)
    assert not rules.repeats(request, unnamed)


def test_g9_requests_go_by_urgency_then_age() -> None:
    def turn(urgency: Urgency, seconds: int) -> tuple[int, datetime, str]:
        at = NOW + timedelta(seconds=seconds)
        said = wanted(urgency=urgency)
        return rules.requested("h", said, at, budget_micros=0, max_helpers=1).turn

    order = [(Urgency.CRITICAL, 9), (Urgency.HIGH, 1), (Urgency.HIGH, 2), (Urgency.LOW, 0)]
    assert sorted(turn(*each) for each in reversed(order)) == [turn(*each) for each in order]
