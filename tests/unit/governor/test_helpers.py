"""N5: who is named to a swarm that asks for help."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.governor.helpers import MIN_COVERAGE, Helper, rank_helpers
from infrafabric_server.governor.matching import coverage

sets = st.frozensets(st.sampled_from("abcdefgh"))
helpers = st.lists(
    st.builds(Helper, st.text("xyz", min_size=1, max_size=4), sets, st.integers(0, 3)),
    unique_by=lambda helper: helper.swarm_id,
    max_size=30,
)
shares = st.fractions(min_value=0, max_value=1, max_denominator=8)


@given(sets, helpers, shares, st.integers(0, 25))
def test_n5_helpers_are_ranked_by_coverage_then_wait_then_id(
    needs: frozenset[str], idle: list[Helper], least: Fraction, limit: int
) -> None:
    able = [h for h in idle if coverage(needs, h.capabilities) >= max(least, Fraction(1, 1000))]
    able.sort(key=lambda h: (-coverage(needs, h.capabilities), h.waiting_since, h.swarm_id))
    found = rank_helpers(needs, idle, limit=limit, least=least)
    assert found == [helper.swarm_id for helper in able][:limit]


def test_n5_a_helper_covers_at_least_half_of_the_needs() -> None:
    idle = [
        Helper("half", frozenset("ab"), 5.0),
        Helper("less", frozenset("a"), 1.0),
        Helper("all", frozenset("abcdz"), 9.0),
    ]
    assert Fraction(1, 2) == MIN_COVERAGE
    assert rank_helpers(frozenset("abcd"), idle) == ["all", "half"]


def test_n5_nobody_helps_with_nothing_and_at_most_twenty_are_named() -> None:
    idle = [Helper(f"swarm-{n:02}", frozenset("a"), float(-n)) for n in range(30)]
    assert rank_helpers(frozenset(), idle) == []
    assert rank_helpers(frozenset("a"), idle) == [f"swarm-{n}" for n in range(29, 9, -1)]
