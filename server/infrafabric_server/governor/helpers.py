"""Who can help: idle swarms ranked by how much of the need they cover."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from heapq import nsmallest
from math import ceil

MIN_COVERAGE = Fraction(1, 2)
"""Least share of the needs that a helper covers."""

MAX_HELPERS = 20
"""Most helpers that are named to someone who asks."""


@dataclass(frozen=True, slots=True)
class Helper:
    """A swarm that is idle; the smaller `waiting_since`, the longer it has been so."""

    swarm_id: str
    capabilities: frozenset[str]
    waiting_since: float


def rank_helpers(
    needs: frozenset[str],
    idle: Iterable[Helper],
    *,
    limit: int = MAX_HELPERS,
    least: Fraction = MIN_COVERAGE,
) -> list[str]:
    """Return the ids of the swarms that cover at least `least` of the needs, best first.

    Equal coverage: the one that has waited longest, then the smaller id. At most `limit`
    ids; none when nothing is needed. The caller leaves out the one who asks.
    """
    # The fewest needs that are that share of them; whoever meets none is no help.
    enough = max(1, ceil(least * len(needs)))
    able = (
        (-met, helper.waiting_since, helper.swarm_id)
        for helper in idle
        if (met := len(needs & helper.capabilities)) >= enough
    )
    return [swarm_id for _, _, swarm_id in nsmallest(limit, able)]
