"""The example of docs/matching.md, computed again."""

import re
from datetime import timedelta
from pathlib import Path

from infrafabric_server.governor.matching import Comparison, Metric, hourly_cap
from infrafabric_server.governor.models import ExclusionRule
from infrafabric_server.governor.policy.models import Reputing
from infrafabric_server.governor.roster import Roster

GUIDE = Path(__file__).parents[3] / "docs" / "matching.md"
ROW = re.compile(
    r"^\| `(\w+)` \| ([\w ]+) \| (\d+) \| ([\d.]+) \| ([\d.]*) ?\| ([\w: ]+) \|$", re.MULTILINE
)
REQUIRED = frozenset({"go", "grpc", "sql", "testing"})
CAP = 2_000_000


def example() -> Roster:
    """Return the roster of the example, with its swarms free in their order."""
    roster = Roster()
    for since, (swarm_id, capabilities, cost, *_) in enumerate(ROW.findall(GUIDE.read_text())):
        model = "cyd's own" if swarm_id == "cyd" else ""
        roster.put(swarm_id, frozenset(capabilities.split()), int(cost), model, Reputing().prior)
        roster.set_free(swarm_id, float(since))
    return roster


def test_g1_g2_the_example_of_the_guide_is_what_the_roster_answers() -> None:
    roster = example()
    computed = {
        match.swarm_id: (f"{match.match:.3f}", f"{match.score:.3f}", f"rank {match.rank}")
        for match in roster.rank(REQUIRED, max_cost_per_hour_micros=CAP)
    }
    for left_out in roster.exclusions(REQUIRED, max_cost_per_hour_micros=CAP):
        outcome = f"left out: {left_out.rule}"
        computed[left_out.swarm_id] = (f"{left_out.match:.3f}", "", outcome)
    written = {
        swarm_id: (match, score, outcome)
        for swarm_id, _, _, match, score, outcome in ROW.findall(GUIDE.read_text())
    }
    assert len(written) == 7
    assert computed == written


def test_g1_by_coverage_the_order_of_the_example_is_another() -> None:
    ranked = example().rank(
        REQUIRED, comparison=Comparison(Metric.COVERAGE), max_cost_per_hour_micros=CAP
    )
    assert [match.swarm_id for match in ranked] == ["dan", "cyd", "bob", "gil", "ada"]
    assert (ranked[1].score, ranked[1].match, ranked[2].score) == (0.3125, 1.0, 0.3125)
    assert "`cyd` is second with a score of 0.3125" in GUIDE.read_text()


def test_g2_the_rules_of_the_guide_are_all_there_are_in_their_order() -> None:
    rules = re.findall(r"^\| `(\w+)` \| \w+ [^|]+ \|$", GUIDE.read_text(), re.MULTILINE)
    assert rules == list(ExclusionRule)


def test_g1_the_cap_of_the_example_follows_from_cost_and_duration() -> None:
    assert hourly_cap(3_000_000, timedelta(hours=1.5)) == CAP


def test_g1_the_preferred_model_of_the_example_decides_between_equal_scores_only() -> None:
    ranked = example().rank(REQUIRED, max_cost_per_hour_micros=CAP, preferred_model="cyd's own")
    assert [match.swarm_id for match in ranked] == ["dan", "bob", "gil", "cyd", "ada"]
