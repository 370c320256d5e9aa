"""G1, G2: over any history the roster answers what the formula says of each swarm."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from infrafabric_server.governor.matching import DEFAULT, Comparison, Metric, score
from infrafabric_server.governor.models import CapabilityMatch, ExclusionRule
from infrafabric_server.governor.roster import Roster

ids = st.sampled_from([f"swarm-{n}" for n in range(8)])
sets = st.frozensets(st.sampled_from("abcde"), max_size=5)
# So few prices, and so much in proportion, that scores are often equal in spite of the match
# and of the reputation.
prices = st.sampled_from([0, 400_000, 750_000, 800_000, 1_000_000])
caps = st.none() | st.sampled_from([0, 750_000, 10**30])
models = st.sampled_from(["", "small", "large"])
comparisons = st.builds(
    Comparison,
    st.sampled_from(Metric),
    st.sampled_from([Fraction(7, 10), Fraction(1, 2), Fraction(1)]),
)
waits = st.sampled_from([0.0, 1.5, 2.0])


@dataclass(frozen=True)
class Asked:
    """What a question to the roster says of who qualifies."""

    required: frozenset[str]
    cap: int | None
    comparison: Comparison

    @property
    def limits(self) -> Any:
        """The arguments beside the requirement."""
        return {"max_cost_per_hour_micros": self.cap, "comparison": self.comparison}


questions = st.builds(Asked, sets, caps, comparisons)


@dataclass
class Swarm:
    """What the plain model knows of a registered swarm."""

    capabilities: frozenset[str]
    cost: int
    model: str
    reputation: float


class RosterMachine(RuleBasedStateMachine):
    """Swarms come, change, wait, work and go."""

    def __init__(self) -> None:
        super().__init__()
        self.roster = Roster()
        self.swarms: dict[str, Swarm] = {}
        self.since: dict[str, float] = {}

    @rule(
        swarm_id=ids,
        capabilities=sets,
        cost=prices,
        model=models,
        reputation=st.sampled_from([1.0, 0.5, 615 / 1024, 1 / 1024]),
    )
    def put(
        self, swarm_id: str, capabilities: frozenset[str], cost: int, model: str, reputation: float
    ) -> None:
        self.roster.put(swarm_id, capabilities, cost, model, reputation)
        self.swarms[swarm_id] = Swarm(capabilities, cost, model, reputation)

    @rule(swarm_id=ids)
    def remove(self, swarm_id: str) -> None:
        self.roster.remove(swarm_id)
        self.swarms.pop(swarm_id, None)

    @rule(swarm_id=ids, since=waits)
    def becomes_free(self, swarm_id: str, since: float) -> None:
        self.roster.set_free(swarm_id, since)
        self.since[swarm_id] = since

    @rule(swarm_id=ids)
    def becomes_busy(self, swarm_id: str) -> None:
        self.roster.set_free(swarm_id, None)
        self.since.pop(swarm_id, None)

    @rule(asked=questions, model=models, excluding=st.lists(ids, max_size=3))
    def best(self, asked: Asked, model: str, excluding: list[str]) -> None:
        free = [i for i in self.swarms if i in self.since and i not in excluding]
        ranked = self.ranked(free, asked, model)
        found = self.roster.best(
            asked.required, preferred_model=model, excluding=excluding, **asked.limits
        )
        assert found == (ranked[0] if ranked else None)

    @rule(asked=questions, model=models, limit=st.integers(0, 9))
    def rank(self, asked: Asked, model: str, limit: int) -> None:
        ranked = self.ranked(self.swarms, asked, model)
        found = self.roster.rank(asked.required, preferred_model=model, limit=limit, **asked.limits)
        assert found == ranked[:limit]
        qualified = list(self.roster.qualified(asked.required, **asked.limits))
        assert sorted(qualified) == sorted(match.swarm_id for match in ranked)

    @rule(asked=questions)
    def cheapest(self, asked: Asked) -> None:
        found = self.roster.cheapest(asked.required, comparison=asked.comparison)
        threshold = asked.comparison.threshold
        fits = [each for i, each in self.swarms.items() if self.match(i, asked) >= threshold]
        assert found == min((each.cost for each in fits), default=None)

    @rule(asked=questions, after=st.just("") | ids, limit=st.integers(0, 9))
    def explain(self, asked: Asked, after: str, limit: int) -> None:
        rules = {i: self.left_out(i, asked) for i in sorted(self.swarms)}
        found = self.roster.exclusions(asked.required, after=after, limit=limit, **asked.limits)
        expected = [
            (i, r, float(self.match(i, asked))) for i, r in rules.items() if r and i > after
        ]
        assert [(e.swarm_id, e.rule, e.match) for e in found] == expected[:limit]
        counts = self.roster.exclusion_counts(asked.required, **asked.limits)
        assert counts == {
            r: n for r in ExclusionRule if (n := sum(left is r for left in rules.values()))
        }

    @rule(swarm_id=ids, asked=questions)
    def qualifies(self, swarm_id: str, asked: Asked) -> None:
        known = swarm_id in self.swarms
        found = self.roster.qualifies(swarm_id, asked.required, **asked.limits)
        assert found == (known and self.left_out(swarm_id, asked) is None)

    @invariant()
    def counts(self) -> None:
        assert len(self.roster) == len(self.swarms)
        assert all(swarm_id in self.roster for swarm_id in self.swarms)
        assert self.roster.free_count == len(self.swarms.keys() & self.since.keys())

    def match(self, swarm_id: str, asked: Asked) -> Fraction:
        return asked.comparison.match(asked.required, self.swarms[swarm_id].capabilities)

    def left_out(self, swarm_id: str, asked: Asked) -> ExclusionRule | None:
        swarm = self.swarms[swarm_id]
        if self.match(swarm_id, asked) < asked.comparison.threshold:
            return ExclusionRule.CAPABILITY
        return ExclusionRule.COST if asked.cap is not None and swarm.cost > asked.cap else None

    def ranked(self, among: Iterable[str], asked: Asked, model: str) -> list[CapabilityMatch]:
        def order(swarm_id: str) -> tuple[Any, ...]:
            swarm = self.swarms[swarm_id]
            match = self.match(swarm_id, asked)
            exact = match * Fraction(swarm.reputation) / (swarm.cost or 1)
            return (
                swarm.cost > 0,
                -exact,
                bool(model) and swarm.model != model,
                -match,
                swarm.cost,
                self.since.get(swarm_id, inf),
                swarm_id,
            )

        qualified = [i for i in among if self.left_out(i, asked) is None]
        return [
            CapabilityMatch(
                swarm_id=swarm_id,
                match=float(self.match(swarm_id, asked)),
                score=score(
                    self.match(swarm_id, asked),
                    self.swarms[swarm_id].reputation,
                    self.swarms[swarm_id].cost,
                ),
                cost_per_hour_micros=self.swarms[swarm_id].cost,
                reputation=self.swarms[swarm_id].reputation,
                rank=rank,
            )
            for rank, swarm_id in enumerate(sorted(qualified, key=order), 1)
        ]


TestRoster = RosterMachine.TestCase
TestRoster.settings = settings(max_examples=120, stateful_step_count=50)


def three(capabilities: str = "abcd", **prices_by_id: int) -> Roster:
    """Return a roster of free swarms that differ by price and by who came first."""
    roster = Roster()
    for since, (swarm_id, price) in enumerate(prices_by_id.items()):
        roster.put(swarm_id, frozenset(capabilities), price, "")
        roster.set_free(swarm_id, float(since))
    return roster


def best(roster: Roster, required: str = "abcd", **options: Any) -> str | None:
    """Return the id of the best free swarm."""
    found = roster.best(frozenset(required), **options)
    return None if found is None else found.swarm_id


def test_g1_a_swarm_that_costs_nothing_goes_before_every_price() -> None:
    roster = three(cheap=1, free=0)
    roster.put("free", frozenset("abcde"), 0, "")
    assert best(roster) == "free"


def test_g1_a_cheaper_swarm_may_win_with_a_lesser_match() -> None:
    roster = three(exact=1_000_000)
    roster.put("near", frozenset("abcde"), 790_000, "")
    roster.set_free("near", 9.0)
    assert best(roster) == "near"
    roster.put("near", frozenset("abcde"), 800_000, "")
    assert best(roster) == "exact", "equal scores: the better match"


def test_g1_equal_swarms_take_turns_by_their_wait_then_by_id() -> None:
    roster = three(second=5, first=5, third=5)
    roster.set_free("first", -1.0)
    roster.set_free("third", 0.0)
    assert [match.swarm_id for match in roster.rank(frozenset("abcd"))] == [
        "first",
        "second",
        "third",
    ]
    assert best(roster, excluding=["first"]) == "second"


def test_g1_the_preferred_model_decides_between_equal_scores_only() -> None:
    roster = three(dear=1_000_001, one=1_000_000, other=1_000_000)
    roster.put("dear", frozenset("abcd"), 1_000_001, "large")
    roster.put("other", frozenset("abcd"), 1_000_000, "large")
    assert best(roster) == "one"
    assert best(roster, preferred_model="large") == "other"


def test_g1_the_preferred_model_goes_before_a_better_match_of_equal_score() -> None:
    roster = three(exact=1_000_000)
    roster.put("near", frozenset("abcde"), 800_000, "large")
    roster.set_free("near", 9.0)
    assert best(roster) == "exact"
    assert best(roster, preferred_model="large") == "near"


def test_g1_swarms_that_differ_but_not_in_merit_take_turns_by_their_wait() -> None:
    roster = three(later=5, sooner=5)
    roster.put("later", frozenset("abcd"), 5, "small")
    roster.set_free("sooner", -1.0)
    assert best(roster) == "sooner"
    roster.set_free("later", -2.0)
    assert best(roster) == "later"
    roster.set_free("sooner", -2.0)
    assert best(roster, excluding=["nobody"]) == "later", "equal waits: the smaller id"


def test_g1_none_qualified_gives_none() -> None:
    roster = three(dear=10)
    assert best(roster, "abcdxyz") is None
    assert best(roster, max_cost_per_hour_micros=9) is None
    assert best(roster, excluding={"dear"}) is None
    assert best(Roster()) is None


@pytest.mark.parametrize("late", [True, False])
def test_free_and_registered_may_arrive_in_any_order(late: bool) -> None:
    roster = Roster()
    if not late:
        roster.put("one", frozenset("a"), 0, "")
    roster.set_free("one", 1.0)
    roster.put("one", frozenset("ab"), 0, "")
    assert best(roster, "ab") == "one"
    roster.remove("one")
    assert best(roster, "ab") is None
    roster.put("one", frozenset("ab"), 0, "")
    assert best(roster, "ab") == "one"
    roster.set_free("one", None)
    assert (best(roster, "ab"), roster.free_count) == (None, 0)


def test_g1_each_question_brings_its_own_metric_and_threshold() -> None:
    roster = three("ab", one=0)
    assert best(roster, "abcd") is None
    half = Comparison(threshold=Fraction(1, 2))
    assert best(roster, "abcd", comparison=half) == "one"
    assert best(roster, "a") is None, "it can do as much again that is not asked for"
    assert best(roster, "a", comparison=Comparison(Metric.COVERAGE)) == "one"
    assert Comparison(Metric.JACCARD, Fraction(7, 10)) == DEFAULT


def test_g1_by_coverage_what_else_a_swarm_can_do_does_not_count() -> None:
    roster = three("abcdefgh", many=1_000_000)
    roster.put("exact", frozenset("abcd"), 1_000_001, "")
    covers = Comparison(Metric.COVERAGE)
    assert [(c.swarm_id, c.match) for c in roster.rank(frozenset("abcd"), comparison=covers)] == [
        ("many", 1.0),
        ("exact", 1.0),
    ]
    assert [c.swarm_id for c in roster.rank(frozenset("abcd"))] == ["exact"]


def test_g1_more_swarms_than_the_first_arrays_hold() -> None:
    roster = Roster()
    for number in range(3_000):
        roster.put(f"swarm-{number:04}", frozenset({"work", str(number)}), number + 1, "")
        roster.set_free(f"swarm-{number:04}", 0.0)
    assert best(roster, "work") is None
    found = roster.best(frozenset({"work", "2999"}))
    assert found is not None
    assert (found.swarm_id, found.score) == ("swarm-2999", 1_000_000 / 3_000)
    for number in range(3_000):
        roster.remove(f"swarm-{number:04}")
    assert (len(roster), roster.free_count, roster.rank(frozenset())) == (0, 0, [])
