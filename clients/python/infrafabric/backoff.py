"""How long to wait before trying again: exponential, with full jitter.

Each wait is drawn from zero to a ceiling that doubles: after a crash a thousand clients
come back spread out, not in step.
"""

from collections.abc import Callable

INITIAL_SECONDS = 0.1
LONGEST_SECONDS = 5.0


def wait(failures: int, random: Callable[[], float], at_least: float | None = None) -> float:
    """Return the seconds to wait after a failure.

    Args:
        failures: how many there were before it, in a row.
        random: returns a number in [0, 1).
        at_least: what the other side asked for, in seconds; the jitter comes on top.
    """
    # Past 2^16 the longest wait has long been reached; the power must not overflow.
    ceiling = min(LONGEST_SECONDS, INITIAL_SECONDS * 2.0 ** min(failures, 16))
    return (at_least or 0.0) + random() * ceiling
