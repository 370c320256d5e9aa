"""Circuit breakers and credential pools as protobuf messages."""

from infrafabric.v1 import breaker_pb2 as pb
from infrafabric_server.edge.times import to_timestamp
from infrafabric_server.governor.breaker.breakers import ListedPool
from infrafabric_server.governor.breaker.models import Breaker, BreakerCause, BreakerState

STATES = {
    BreakerState.CLOSED: pb.BREAKER_STATE_CLOSED,
    BreakerState.OPEN: pb.BREAKER_STATE_OPEN,
}
_CAUSES = {
    BreakerCause.BUDGET: pb.BREAKER_CAUSE_BUDGET,
    BreakerCause.OVERRUN: pb.BREAKER_CAUSE_OVERRUN,
    BreakerCause.FAILURES: pb.BREAKER_CAUSE_FAILURES,
    BreakerCause.FAILURE_RATE: pb.BREAKER_CAUSE_FAILURE_RATE,
    BreakerCause.SLOW: pb.BREAKER_CAUSE_SLOW,
    BreakerCause.COST_RATE: pb.BREAKER_CAUSE_COST_RATE,
    BreakerCause.SLO: pb.BREAKER_CAUSE_SLO,
    BreakerCause.MANUAL: pb.BREAKER_CAUSE_MANUAL,
}


def breaker_to_wire(breaker: Breaker) -> pb.CircuitBreaker:
    """Return a breaker as a message."""
    message = pb.CircuitBreaker(
        swarm_id=breaker.swarm_id,
        state=STATES[breaker.state],
        detail=breaker.detail,
        approver=breaker.approver,
        reset_reason=breaker.reset_reason,
        consecutive_failures=breaker.consecutive_failures,
        policy_hash=breaker.policy_hash,
    )
    if breaker.cause is not None:
        message.cause = _CAUSES[breaker.cause]
    if breaker.open_time is not None:
        message.open_time.CopyFrom(to_timestamp(breaker.open_time))
    if breaker.fence_time is not None:
        message.fence_time.CopyFrom(to_timestamp(breaker.fence_time))
    if breaker.reset_time is not None:
        message.reset_time.CopyFrom(to_timestamp(breaker.reset_time))
    return message


def pool_to_wire(listed: ListedPool) -> pb.CredentialPool:
    """Return a paused pool as a message."""
    return pb.CredentialPool(
        pool_id=listed.pool.pool_id,
        paused_until_time=to_timestamp(listed.pool.paused_until),
        reason=listed.pool.reason,
        swarm_ids=listed.swarm_ids,
    )
