"""Why a swarm was left out, as a pure function."""

from fractions import Fraction

from infrafabric_server.governor.matching import similarity
from infrafabric_server.governor.models import Exclusion, ExclusionRule


def exclusion(
    swarm_id: str,
    capabilities: frozenset[str],
    cost_per_hour_micros: int,
    *,
    required: frozenset[str],
    max_cost_per_hour_micros: int | None,
    threshold: Fraction,
) -> Exclusion | None:
    """Return the first rule that leaves a swarm out, with its numbers; None if it qualifies."""
    match = similarity(required, capabilities)
    if match < threshold:
        shared = len(required & capabilities)
        either = len(required | capabilities)
        return Exclusion(
            swarm_id=swarm_id,
            rule=ExclusionRule.CAPABILITY,
            match=float(match),
            detail=f"shares {shared} of the {either} capabilities that either has: "
            f"match {float(match):.3f} is below {float(threshold):g}",
        )
    if max_cost_per_hour_micros is not None and cost_per_hour_micros > max_cost_per_hour_micros:
        return Exclusion(
            swarm_id=swarm_id,
            rule=ExclusionRule.COST,
            match=float(match),
            detail=f"costs {cost_per_hour_micros} micro-US-dollars an hour, above the "
            f"{max_cost_per_hour_micros} allowed",
        )
    return None
