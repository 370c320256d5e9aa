"""The calls about help: asking, accepting, listing."""

from infrafabric.v1 import governor_help_pb2 as pb
from infrafabric.v1 import help_pb2
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceServicer
from infrafabric_server.edge import paging, validate
from infrafabric_server.edge.batches import batches
from infrafabric_server.edge.calls import Context, Finish
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.governor.help.models import Urgency, Wanted
from infrafabric_server.governor.help.ports import IFHelp
from infrafabric_server.governor.service.help_wire import STATES, URGENCIES, help_to_wire

_URGENCIES = {
    help_pb2.HELP_URGENCY_UNSPECIFIED: Urgency.LOW,
    **{number: urgency for urgency, number in URGENCIES.items()},
}
_STATES = {
    help_pb2.HELP_STATE_UNSPECIFIED: None,
    **{number: state for state, number in STATES.items()},
}


class HelpCalls(GovernorServiceServicer):
    """RequestHelp, AcceptHelp, ListHelpRequests."""

    help: IFHelp
    finish: Finish

    async def RequestHelp(
        self, request: pb.RequestHelpRequest, context: Context
    ) -> pb.RequestHelpResponse:
        """Ask for help with a task."""
        asked = await self.finish(self.help.request(_wanted(request)))
        return pb.RequestHelpResponse(help=help_to_wire(asked))

    async def AcceptHelp(
        self, request: pb.AcceptHelpRequest, context: Context
    ) -> pb.AcceptHelpResponse:
        """Join the helpers of a request."""
        help_id = validate.require_id("help_id", request.help_id)
        swarm_id = validate.require_id("swarm_id", request.swarm_id)
        answer = await self.finish(self.help.accept(help_id, swarm_id))
        return pb.AcceptHelpResponse(
            accepted=answer.accepted,
            refusal_detail=answer.refusal,
            help=help_to_wire(answer.help),
        )

    async def ListHelpRequests(
        self, request: pb.ListHelpRequestsRequest, context: Context
    ) -> pb.ListHelpRequestsResponse:
        """Return a page of requests, the older ones first."""
        if request.state not in _STATES:
            raise InvalidField(FieldViolation("state", "must be a known HelpState"))
        size = validate.page_size(request.page_size)
        after = paging.page_position(request)
        part = await self.help.page(after, size, _STATES[request.state])
        shown = next(batches(map(help_to_wire, part.found)), [])
        all_fit = len(shown) == len(part.found)
        return pb.ListHelpRequestsResponse(
            help=shown,
            next_page_token=paging.next_page_token(
                request, part.position if all_fit else shown[-1].help_id
            ),
        )


def _wanted(request: pb.RequestHelpRequest) -> Wanted:
    needs = validate.require_capabilities("needs", request.needs)
    if not needs:
        raise InvalidField(FieldViolation("needs", "must have at least one entry"))
    if request.urgency not in _URGENCIES:
        raise InvalidField(FieldViolation("urgency", "must be a known HelpUrgency"))
    budget = None
    if request.HasField("budget_micros"):
        budget = validate.require_money("budget_micros", request.budget_micros)
    return Wanted(
        validate.require_id("swarm_id", request.swarm_id),
        validate.require_id("task_id", request.task_id),
        validate.require_attempt("attempt", request.attempt),
        validate.require_text("reason", request.reason, least=1),
        needs,
        _URGENCIES[request.urgency],
        budget,
        validate.request_id("request_id", request.request_id),
    )
