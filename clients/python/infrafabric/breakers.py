"""Circuit breakers: what keeps work from a swarm until a person allows it again."""

from collections.abc import AsyncIterator

from infrafabric.calls import Caller
from infrafabric.v1 import governor_breaker_pb2 as pb2
from infrafabric.v1.breaker_pb2 import (
    BREAKER_STATE_UNSPECIFIED,
    BreakerState,
    CircuitBreaker,
)


class Breakers:
    """Opening, closing and reading circuit breakers; made by `Client`."""

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def pages(
        self, state: BreakerState.ValueType = BREAKER_STATE_UNSPECIFIED
    ) -> AsyncIterator[pb2.ListCircuitBreakersResponse]:
        """Iterate over the pages of all breakers that ever opened or count failures.

        The first one has the paused credential pools, and the hold of the fabric first.

        Args:
            state: only those in this state; UNSPECIFIED means all.
        """
        request = pb2.ListCircuitBreakersRequest(state=state)
        async for page in self._calls.pages(lambda at: at.governor.ListCircuitBreakers, request):
            yield page

    async def trip(self, swarm_id: str | None, reason: str) -> CircuitBreaker:
        """Open the breaker of a swarm; None holds the whole fabric.

        Args:
            swarm_id: the swarm.
            reason: why, 1 to 4096 characters.
        """
        request = pb2.TripCircuitBreakerRequest(reason=reason)
        if swarm_id is None:
            request.fabric = True
        else:
            request.swarm_id = swarm_id
        answer = await self._calls.unary(lambda at: at.governor.TripCircuitBreaker, request)
        return answer.breaker

    async def reset(
        self,
        swarm_id: str | None,
        *,
        approver: str,
        reason: str,
        new_budget_micros: int | None = None,
    ) -> CircuitBreaker:
        """Close the breaker of a swarm; None ends the hold of the fabric.

        Args:
            swarm_id: the swarm.
            approver: the person who takes responsibility, 1 to 128 characters.
            reason: why it is safe now, 1 to 4096 characters.
            new_budget_micros: the swarm's new limit in micro-US-dollars; None leaves it.
        """
        request = pb2.ResetCircuitBreakerRequest(
            approver=approver, reason=reason, new_budget_micros=new_budget_micros
        )
        if swarm_id is None:
            request.fabric = True
        else:
            request.swarm_id = swarm_id
        answer = await self._calls.unary(lambda at: at.governor.ResetCircuitBreaker, request)
        return answer.breaker
