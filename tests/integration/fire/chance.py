"""Randomness that can be had again: the seed is in the log of a test that failed."""

import logging
import os
import random

SEED_VARIABLE = "FIRE_SEED"

_log = logging.getLogger(__name__)


def seeded() -> random.Random:
    """Return a generator with a fresh seed, or with the one in the environment."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(2**32))
    _log.warning("random moments and choices: repeat them with %s=%d", SEED_VARIABLE, seed)
    return random.Random(seed)
