"""The judge finds nothing in a history without faults, and every fault that is planted in one."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.robustness.check import judge
from tests.robustness.evidence import Evidence
from tests.unit.robustness import (
    planted_effects,
    planted_governor,
    planted_money,
    planted_sights,
)
from tests.unit.robustness.governed import GovernedClients
from tests.unit.robustness.ideal import IdealFabric
from tests.unit.robustness.planting import Plant

PLANTS = (
    *planted_effects.PLANTS,
    *planted_sights.PLANTS,
    *planted_money.PLANTS,
    *planted_governor.PLANTS,
)

# Enough for every kind of event to occur, and histories that have a place for every fault.
STEPS = 400
SEEDS = (1, 3, 5)


def legal(seed: int, steps: int = STEPS) -> Evidence:
    """Return the evidence of a fabric that does as it should."""
    return GovernedClients(IdealFabric(random.Random(seed))).run(steps)


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 120))
@settings(max_examples=60, deadline=None)
def test_u6_nothing_is_found_in_a_legal_history(seed: int, steps: int) -> None:
    assert judge(legal(seed, steps)) == []


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
@pytest.mark.parametrize("seed", SEEDS)
def test_u6_every_planted_violation_is_found(plant: Plant, seed: int) -> None:
    evidence = legal(seed)
    wanted = plant(evidence, random.Random(seed))
    assert wanted in {violation.check for violation in judge(evidence)}
