"""The calls about circuit breakers."""

from infrafabric.v1 import breaker_pb2
from infrafabric.v1 import governor_breaker_pb2 as pb
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceServicer
from infrafabric_server.edge import paging, validate
from infrafabric_server.edge.calls import Context, Finish
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.breaker.models import BreakerCause, BreakerState
from infrafabric_server.governor.service.breaker_wire import breaker_to_wire, pool_to_wire
from infrafabric_server.limits import MAX_MODEL

_STATES = {
    breaker_pb2.BREAKER_STATE_UNSPECIFIED: None,
    breaker_pb2.BREAKER_STATE_CLOSED: BreakerState.CLOSED,
    breaker_pb2.BREAKER_STATE_OPEN: BreakerState.OPEN,
}
# Swarms that are listed with a pool.
_MEMBERS = 100


class BreakerCalls(GovernorServiceServicer):
    """TripCircuitBreaker, ResetCircuitBreaker and ListCircuitBreakers."""

    breakers: Breakers
    finish: Finish

    async def TripCircuitBreaker(
        self,
        request: pb.TripCircuitBreakerRequest,
        context: Context,
    ) -> pb.TripCircuitBreakerResponse:
        """Open a breaker by hand."""
        scope = _scope(request)
        reason = validate.require_text("reason", request.reason, least=1)
        breaker = await self.finish(self.breakers.trip(scope, BreakerCause.MANUAL, reason))
        return pb.TripCircuitBreakerResponse(breaker=breaker_to_wire(breaker))

    async def ResetCircuitBreaker(
        self,
        request: pb.ResetCircuitBreakerRequest,
        context: Context,
    ) -> pb.ResetCircuitBreakerResponse:
        """Close a breaker in the name of a person."""
        budget = None
        if request.HasField("new_budget_micros"):
            budget = validate.require_money("new_budget_micros", request.new_budget_micros)
        reset = self.breakers.reset(
            _scope(request),
            validate.require_text("approver", request.approver, least=1, most=MAX_MODEL),
            validate.require_text("reason", request.reason, least=1),
            budget,
        )
        breaker = await self.finish(reset)
        return pb.ResetCircuitBreakerResponse(breaker=breaker_to_wire(breaker))

    async def ListCircuitBreakers(
        self,
        request: pb.ListCircuitBreakersRequest,
        context: Context,
    ) -> pb.ListCircuitBreakersResponse:
        """Return a page of breakers, with the paused pools on the first one."""
        if request.state not in _STATES:
            raise InvalidField(FieldViolation("state", "must be a state that there is"))
        size = validate.page_size(request.page_size)
        after = paging.page_position(request)
        part = await self.breakers.page(_STATES[request.state], after, size)
        pools = [] if after else self.breakers.paused(_MEMBERS)
        return pb.ListCircuitBreakersResponse(
            breakers=[breaker_to_wire(each) for each in part.found],
            pools=[pool_to_wire(each) for each in pools],
            next_page_token=paging.next_page_token(request, part.position),
        )


def _scope(request: pb.TripCircuitBreakerRequest | pb.ResetCircuitBreakerRequest) -> str:
    """Return whose breaker is meant, "" for the fabric's."""
    match request.WhichOneof("scope"):
        case "swarm_id":
            return validate.require_id("swarm_id", request.swarm_id)
        case "fabric" if request.fabric:
            return ""
        case _:
            rule = "must be given, or `fabric` be set"
            raise InvalidField(FieldViolation("swarm_id", rule))
