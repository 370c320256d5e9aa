"""Requests for help as protobuf messages."""

from infrafabric.v1 import help_pb2 as pb
from infrafabric_server.edge.times import to_timestamp
from infrafabric_server.governor.help.models import HelpRequest, HelpState, Urgency

STATES = {
    HelpState.OPEN: pb.HELP_STATE_OPEN,
    HelpState.STAFFED: pb.HELP_STATE_STAFFED,
    HelpState.UNQUALIFIED: pb.HELP_STATE_UNQUALIFIED,
    HelpState.ENDED: pb.HELP_STATE_ENDED,
}
URGENCIES = {
    Urgency.LOW: pb.HELP_URGENCY_LOW,
    Urgency.HIGH: pb.HELP_URGENCY_HIGH,
    Urgency.CRITICAL: pb.HELP_URGENCY_CRITICAL,
}


def help_to_wire(request: HelpRequest) -> pb.HelpRequest:
    """Return a request for help as a message."""
    message = pb.HelpRequest(
        help_id=request.help_id,
        swarm_id=request.swarm_id,
        task_id=request.task_id,
        attempt=request.attempt,
        reason=request.reason,
        needs=sorted(request.needs),
        urgency=URGENCIES[request.urgency],
        budget_micros=request.budget_micros,
        state=STATES[request.state],
        helper_swarm_ids=request.helper_ids,
        asked_swarm_ids=request.asked_ids,
        max_helpers=request.max_helpers,
        create_time=to_timestamp(request.create_time),
        spent_micros=request.spent_micros,
    )
    if request.end_time is not None:
        message.end_time.CopyFrom(to_timestamp(request.end_time))
    return message
