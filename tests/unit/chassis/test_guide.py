"""X4, X5: the example of docs/reputation.md, computed again, and its defaults."""

import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infrafabric_server.chassis.reputation import (
    STEPS,
    Evidence,
    Verdict,
    added,
    aged,
    ranked,
    reputation,
)
from infrafabric_server.chassis.slo import SLICES
from infrafabric_server.chassis.standing import MAX_POINTS
from infrafabric_server.governor.policy.models import Reputing, ServiceLevel, written
from infrafabric_server.governor.roster import Roster

GUIDE = (Path(__file__).parents[3] / "docs" / "reputation.md").read_text()
ENDED = re.compile(
    r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$",
    re.MULTILINE,
)
RESULT = re.compile(
    r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \| (\(.*\) ÷ \(.*\) = [\d.]+) \| (\d+)/1024"
    r" \| ([\d.]+) \| (\d) \|$",
    re.MULTILINE,
)
TODAY = datetime(2030, 1, 1, tzinfo=UTC)
BY = Reputing()
PRICE = 2_000_000


def example() -> dict[str, Evidence]:
    """Return what was seen of each swarm of the example, as of today."""
    seen: dict[str, Evidence] = {}
    for swarm_id, days, met, late, failed, *_ in ENDED.findall(GUIDE):
        ended = TODAY - timedelta(days=int(days))
        for verdict, count in zip(Verdict, (met, late, failed), strict=True):
            for _ in range(int(count)):
                seen[swarm_id] = added(seen.get(swarm_id), verdict, ended, BY)
    return {swarm_id: aged(evidence, TODAY, BY) for swarm_id, evidence in seen.items()}


def test_x5_the_parts_of_the_example_add_up() -> None:
    rows = ENDED.findall(GUIDE)
    assert len(rows) == 5
    for _, days, met, late, failed, weight, good, seen in rows:
        weighs = 2 ** -(timedelta(days=int(days)) / BY.half_life)
        assert weight == f"{weighs:.2f}"
        assert good == f"{weighs * (int(met) + int(late) / 2):.2f}"
        assert seen == f"{weighs * (int(met) + int(late) + int(failed)):.2f}"


def test_x5_the_example_is_what_the_formula_and_the_roster_answer() -> None:
    roster, known = Roster(), example()
    computed: defaultdict[str, list[str]] = defaultdict(list)
    for swarm_id in ("ada", "bob", "cyd", "dee"):
        evidence = known.get(swarm_id)
        value = reputation(evidence, TODAY, BY)
        good, seen = (evidence.good, evidence.seen) if evidence else (0.0, 0.0)
        formula = f"(5 + {good:.2f}) ÷ (10 + {seen:.2f}) = {value:.4f}"
        steps = f"{ranked(value) * STEPS:.0f}"
        computed[swarm_id] += [f"{good:.2f}", f"{seen:.2f}", formula, steps]
        roster.put(swarm_id, frozenset({"ocr"}), PRICE, "", ranked(value))
    for match in roster.rank(frozenset({"ocr"})):
        computed[match.swarm_id] += [f"{match.score:.4f}", str(match.rank)]
    assert {swarm_id: rest for swarm_id, *rest in RESULT.findall(GUIDE)} == computed
    assert BY.prior * BY.prior_weight == 5


def test_x5_the_guide_names_the_defaults_of_the_policy() -> None:
    level = ServiceLevel()
    for said in (
        f"`reputation.prior` ({BY.prior})",
        f"`reputation.prior_weight` ({BY.prior_weight:g})",
        f"`reputation.half_life` ({written(BY.half_life)})",
        f"`success_rate` ({level.success_rate})",
        f"`availability` ({level.availability})",
        f"`window` ({written(level.window)}), in {SLICES} slices",
        f"`max_attempts` ({level.max_attempts})",
        f"`min_attempts` ({level.min_attempts})",
        f"the last {MAX_POINTS} of them",
    ):
        assert said in GUIDE, said
    assert level.p99_latency is not None
    assert f"`p99_latency` ({written(level.p99_latency)})" in GUIDE
    assert level.max_burn_rate is None
