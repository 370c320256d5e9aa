"""Finding the right swarm."""

from typing import Any

from grpc import aio

from infrafabric.v1 import governor_service_pb2 as pb
from infrafabric.v1 import match_pb2
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceServicer
from infrafabric_server.edge import paging, validate
from infrafabric_server.governor.governor import IFGovernor
from infrafabric_server.governor.models import CapabilityMatch, ExclusionRule, Qualification

RULES = {
    ExclusionRule.CAPABILITY: match_pb2.EXCLUSION_RULE_CAPABILITY,
    ExclusionRule.COST: match_pb2.EXCLUSION_RULE_COST,
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
        max_cost = None
        if request.HasField("max_cost_per_hour_micros"):
            max_cost = validate.require_money(
                "max_cost_per_hour_micros", request.max_cost_per_hour_micros
            )
        found = self.governor.find_qualified_swarm(
            validate.require_capabilities("required_capabilities", request.required_capabilities),
            max_cost,
            explain=request.explain,
            after=paging.page_position(request),
            limit=validate.page_size(request.page_size, default=_EXCLUSIONS),
        )
        return _response(found, paging.next_page_token(request, found.next_after))


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
        exclusion_counts=[
            match_pb2.ExclusionCount(rule=RULES[rule], count=count)
            for rule, count in found.exclusion_counts.items()
        ],
        next_page_token=next_page_token,
    )
    if found.best is not None:
        response.swarm_id = found.best.swarm_id
        response.match = found.best.match
        response.score = found.best.score
    return response


def _candidate(match: CapabilityMatch) -> match_pb2.Candidate:
    return match_pb2.Candidate(
        swarm_id=match.swarm_id,
        rank=match.rank,
        match=match.match,
        score=match.score,
        cost_per_hour_micros=match.cost_per_hour_micros,
    )
