"""Why a swarm was left out, as a pure function."""

from infrafabric_server.governor.matching import Comparison, Metric
from infrafabric_server.governor.models import Exclusion, ExclusionRule
from infrafabric_server.governor.money import usd


def exclusion(
    swarm_id: str,
    capabilities: frozenset[str],
    cost_per_hour_micros: int,
    *,
    required: frozenset[str],
    max_cost_per_hour_micros: int | None,
    comparison: Comparison,
) -> Exclusion | None:
    """Return the first rule that leaves a swarm out, with its numbers; None if it qualifies."""
    match = comparison.match(required, capabilities)
    if match < comparison.threshold:
        shared = len(required & capabilities)
        whole = (
            f"has {shared} of the {len(required)} capabilities that are required"
            if comparison.metric is Metric.COVERAGE
            else f"shares {shared} of the {len(required | capabilities)} capabilities that either"
            " has"
        )
        return Exclusion(
            swarm_id=swarm_id,
            rule=ExclusionRule.CAPABILITY,
            match=float(match),
            detail=f"{whole}: match {float(match):.3f} is below {float(comparison.threshold):g}",
        )
    if max_cost_per_hour_micros is not None and cost_per_hour_micros > max_cost_per_hour_micros:
        return Exclusion(
            swarm_id=swarm_id,
            rule=ExclusionRule.COST,
            match=float(match),
            detail=f"costs {usd(cost_per_hour_micros)} an hour, above the "
            f"{usd(max_cost_per_hour_micros)} allowed",
        )
    return None
