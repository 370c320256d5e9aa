"""Finding the right swarm."""

from collections.abc import Mapping
from typing import Any, Literal

from grpc import aio

from infrafabric.v1 import governor_service_pb2 as pb
from infrafabric.v1 import match_pb2
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceServicer
from infrafabric_server.edge import paging, validate
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.governor.governor import IFGovernor
from infrafabric_server.governor.matching import Metric
from infrafabric_server.governor.models import CapabilityMatch, ExclusionRule, Page, Qualification

RULES = {
    ExclusionRule.CAPABILITY: match_pb2.EXCLUSION_RULE_CAPABILITY,
    ExclusionRule.COST: match_pb2.EXCLUSION_RULE_COST,
    ExclusionRule.BREAKER: match_pb2.EXCLUSION_RULE_BREAKER,
    ExclusionRule.BUDGET: match_pb2.EXCLUSION_RULE_BUDGET,
    ExclusionRule.POLICY: match_pb2.EXCLUSION_RULE_POLICY,
    ExclusionRule.NO_SLOT: match_pb2.EXCLUSION_RULE_NO_SLOT,
    ExclusionRule.NO_SESSION: match_pb2.EXCLUSION_RULE_NO_SESSION,
}

METRICS = {
    match_pb2.MATCH_METRIC_UNSPECIFIED: None,
    match_pb2.MATCH_METRIC_JACCARD: Metric.JACCARD,
    match_pb2.MATCH_METRIC_COVERAGE: Metric.COVERAGE,
}

_EXCLUSIONS = 20


class MatchingCalls(GovernorServiceServicer):
    """FindQualifiedSwarm."""

    governor: IFGovernor

    async def FindQualifiedSwarm(
        self,
        request: pb.FindQualifiedSwarmRequest,
        context: aio.ServicerContext[Any, Any],
    ) -> pb.FindQualifiedSwarmResponse:
        """Name the best swarm for a set of capabilities."""
        if request.metric not in METRICS:
            raise InvalidField(FieldViolation("metric", "must be a known MatchMetric"))
        page = Page(
            after=paging.page_position(request),
            limit=validate.page_size(request.page_size, default=_EXCLUSIONS),
        )
        found = await self.governor.find_qualified_swarm(
            validate.require_capabilities("required_capabilities", request.required_capabilities),
            _money(request, "max_cost_per_hour_micros"),
            max_task_cost=_money(request, "max_task_cost_micros"),
            metric=METRICS[request.metric],
            explain=page if request.explain else None,
        )
        return _response(found, paging.next_page_token(request, found.next_after))


def _money(
    request: pb.FindQualifiedSwarmRequest,
    field: Literal["max_cost_per_hour_micros", "max_task_cost_micros"],
) -> int | None:
    value: int = getattr(request, field)
    return validate.require_money(field, value) if request.HasField(field) else None


def _response(found: Qualification, next_page_token: str) -> pb.FindQualifiedSwarmResponse:
    response = pb.FindQualifiedSwarmResponse(
        candidates=[_candidate(each) for each in found.candidates],
        excluded=[
            match_pb2.Exclusion(
                swarm_id=each.swarm_id,
                rule=RULES[each.rule],
                match=each.match,
                detail=each.detail,
            )
            for each in found.excluded
        ],
        exclusion_counts=counts_to_wire(found.exclusion_counts),
        next_page_token=next_page_token,
    )
    if found.best is not None:
        response.swarm_id = found.best.swarm_id
        response.match = found.best.match
        response.score = found.best.score
    return response


def counts_to_wire(counts: Mapping[ExclusionRule, int]) -> list[match_pb2.ExclusionCount]:
    """Return how many swarms each rule left out, as a message for each rule."""
    return [
        match_pb2.ExclusionCount(rule=RULES[rule], count=count) for rule, count in counts.items()
    ]


def _candidate(match: CapabilityMatch) -> match_pb2.Candidate:
    return match_pb2.Candidate(
        swarm_id=match.swarm_id,
        rank=match.rank,
        match=match.match,
        score=match.score,
        cost_per_hour_micros=match.cost_per_hour_micros,
        reputation=match.reputation,
    )
