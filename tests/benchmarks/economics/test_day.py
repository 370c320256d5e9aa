"""A short day under each way of giving work: repeatable, with every dollar accounted for."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from datetime import timedelta
from functools import cache

import pytest

from infrafabric_server.governor.matching import Metric, hourly_cap
from infrafabric_server.governor.policy.models import Matching, Policy
from tests.benchmarks.economics.attempts import Ending
from tests.benchmarks.economics.books import Fate
from tests.benchmarks.economics.day import Day, simulate
from tests.benchmarks.economics.families import FAMILIES
from tests.benchmarks.economics.figures import BooksDisagree, figures
from tests.benchmarks.economics.model import Scenario, Work
from tests.benchmarks.economics.regimes import REGIMES, Regime
from tests.benchmarks.economics.world import HOUR, Kind

SHORT = Scenario(
    name="short",
    swarms=16,
    work=Work(tasks=70, hours=4, overtime=1, peak=1),
    rogues=FAMILIES["rogues-20"].rogues,
)
SEED = 7


@cache
def day(regime: str) -> Day:
    """Return the short day of one regime; nothing changes it."""
    return simulate(SHORT, SEED, REGIMES[regime])


def test_a_seed_repeats_a_day_to_the_cent() -> None:
    first, again = day("governor"), simulate(SHORT, SEED, REGIMES["governor"])
    assert first == again
    assert figures(simulate(SHORT, SEED + 1, REGIMES["governor"])) != figures(first)


def test_another_process_repeats_it_and_prints_it_as_json() -> None:
    arguments = ["--seed", "3", "--scale", "0.01", "--regimes", "governor", "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.economics", *arguments, "--json", "-"],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        check=True,
        capture_output=True,
        text=True,
    )
    said = json.loads(done.stdout)
    scenario = FAMILIES["base"].part(0.01)
    assert "seeds 3" in done.stderr
    assert [Scenario.model_validate(each) for each in said["scenarios"]] == [scenario]
    expected = asdict(figures(simulate(scenario, 3, REGIMES["governor"])))
    assert said["days"] == [expected]


@pytest.mark.parametrize("regime", REGIMES)
def test_w4_every_dollar_is_useful_or_wasted_and_in_the_ledger(regime: str) -> None:
    books, ledger = day(regime).books, day(regime).ledger
    money = books.money()
    assert sum(money.values()) == sum(spell.micros for spell in books.spells) > 0
    assert ledger.total.micros == sum(money.values())
    by_swarm: Counter[str] = Counter()
    for spell in books.spells:
        by_swarm[spell.swarm.swarm_id] += spell.micros
        assert spell.stop or spell.micros == spell.course.micros
    assert {line.row.swarm_id: line.row.micros for line in ledger.lines} == by_swarm
    figured = figures(day(regime))
    shares = (figured.unfit, figured.failed, figured.repeated, figured.fenced)
    assert figured.wasted == pytest.approx(sum(shares))
    assert figured.wasted == pytest.approx(1 - money[Fate.USEFUL] / sum(money.values()))


def test_w4_what_the_ledger_calls_failed_is_what_failed() -> None:
    """Without breakers nothing is taken away; wrong results nobody has told the fabric of."""
    found = day("first-idle")
    failed = [each for each in found.books.spells if each.course.ending is Ending.FAILED]
    assert found.ledger.total.failed_micros == sum(each.micros for each in failed) > 0
    assert found.ledger.total.repeated_micros == found.ledger.total.fenced_micros == 0
    assert not found.openings


def test_books_that_disagree_are_refused() -> None:
    found = simulate(SHORT.part(0.1), SEED, REGIMES["cheapest"])
    found.books.spells[0] = replace(found.books.spells[0], micros=found.books.spells[0].micros + 1)
    with pytest.raises(BooksDisagree, match="cheapest"):
        figures(found)


def test_g1_the_governor_gives_work_by_the_products_own_decision() -> None:
    """Each claim is an assignment of the scheduler's, to a swarm that qualifies by the formula."""
    found = day("governor")
    assert found.decisions["task_assigned"] == len(found.books.spells) > 50
    assert found.decisions["claim_won"] == 0
    comparison = Policy().matching.comparison
    for spell in found.books.spells:
        job = found.books.jobs[spell.job_id]
        assert comparison.match(job.needs, spell.swarm.claimed) >= comparison.threshold
        hour = hourly_cap(job.max_micros, timedelta(hours=job.estimated_hours))
        assert hour is not None
        assert spell.swarm.hourly_micros <= hour


def test_g8_a_rule_of_the_policy_is_heeded() -> None:
    for spell in day("governor-margin").books.spells:
        job = day("governor-margin").books.jobs[spell.job_id]
        # The rule sees whole seconds.
        assert spell.swarm.hourly_micros * int(job.estimated_hours * HOUR) <= job.max_micros * 1800
        assert job.needs <= spell.swarm.claimed


def test_g8_another_policy_is_another_day() -> None:
    strict = Policy(matching=Matching(metric=Metric.JACCARD, min_match=1.0))
    found = simulate(SHORT, SEED, Regime("strict", strict, limits=True))
    exact = [
        spell.swarm.claimed == found.books.jobs[spell.job_id].needs for spell in found.books.spells
    ]
    assert exact
    assert all(exact)
    assert len(exact) < len(day("governor").books.spells)


def test_g6_breakers_are_the_products_and_what_is_open_gets_nothing() -> None:
    found = day("governor")
    assert found.decisions["breaker_opened"] == len(found.openings) > 0
    closed = [opening for opening in found.openings if opening.end is not None]
    assert found.decisions["breaker_reset"] == len(closed)
    for opening in found.openings:
        end = float("inf") if opening.end is None else opening.end
        for spell in found.books.spells:
            if spell.swarm.swarm_id == opening.swarm_id:
                assert not opening.begin < spell.begin < end
    stopped = {opening.swarm_id for opening in found.openings}
    spent: Counter[Kind] = Counter()
    for spell in found.books.spells:
        spent[spell.swarm.kind] += 1
        if spell.swarm.kind in (Kind.OVERSPENDING, Kind.BURNING) and spell.stop:
            assert spell.swarm.swarm_id in stopped
    assert spent[Kind.HONEST] > sum(spent.values()) / 2


def test_x5_who_was_seen_to_fail_is_worth_less_than_who_was_not() -> None:
    found = day("governor")
    failed: dict[str, list[bool]] = {}
    for spell in found.books.spells:
        if spell.stop is None:
            bad = spell.course.ending is Ending.FAILED
            failed.setdefault(spell.swarm.swarm_id, []).append(bad)
    tried = {swarm_id: each for swarm_id, each in failed.items() if len(each) > 6}
    some = [found.reputations[swarm_id] for swarm_id, each in tried.items() if any(each)]
    none = [found.reputations[swarm_id] for swarm_id, each in tried.items() if not any(each)]
    assert min(none) > max(some)


def test_without_a_governor_every_claim_is_made_from_outside() -> None:
    for regime in ("first-idle", "round-robin", "cheapest", "first-able", "informed"):
        found = day(regime)
        assert found.decisions["claim_won"] == len(found.books.spells)
        assert found.decisions["task_assigned"] == 0


def test_who_knows_everything_wastes_nothing_on_the_unfit() -> None:
    money = {regime: day(regime).books.money() for regime in ("first-idle", "governor", "informed")}
    unfit = {regime: each[Fate.UNFIT] for regime, each in money.items()}
    assert unfit["informed"] == 0
    assert unfit["governor"] < unfit["first-idle"]
