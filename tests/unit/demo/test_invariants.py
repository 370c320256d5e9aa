"""The judge finds each broken invariant, and nothing in a run that keeps them all."""

from pathlib import Path

import pytest

from demo.check.invariants import INVARIANTS, judge
from tests.unit.demo.damage import DAMAGES, Damage
from tests.unit.demo.evidence import Case, good_case


def broken(case: Case, folder: Path) -> set[str]:
    return {finding.name for finding in judge(case.evidence(folder)) if finding.violations}


def test_a_run_that_keeps_all_invariants_passes(tmp_path: Path) -> None:
    assert broken(good_case(), tmp_path) == set()


@pytest.mark.parametrize(("damage", "invariant"), DAMAGES)
def test_damage_is_found_by_the_invariant_that_it_breaks(
    damage: Damage, invariant: str, tmp_path: Path
) -> None:
    case = good_case()
    damage(case)
    assert invariant in broken(case, tmp_path)


def test_every_invariant_is_shown_to_be_breakable() -> None:
    """A new invariant needs a damage; that of the chain has tests of its own."""
    assert {invariant for _, invariant in DAMAGES} | {"witness-chain"} == set(INVARIANTS)
