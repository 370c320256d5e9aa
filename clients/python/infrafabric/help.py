"""Calls about help: ask idle swarms to gang up on a blocker, take such an offer, see who helps."""

from collections.abc import AsyncIterator, Iterable

from infrafabric.calls import Caller
from infrafabric.v1 import governor_help_pb2 as pb2
from infrafabric.v1.help_pb2 import (
    HELP_STATE_UNSPECIFIED,
    HELP_URGENCY_UNSPECIFIED,
    HelpRequest,
    HelpState,
    HelpUrgency,
)


class Help:
    """Requests for help, as GovernorService knows them.

    Every method may raise the FabricErrors that its RPC lists.
    """

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def request(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        reason: str,
        needs: Iterable[str],
        *,
        urgency: HelpUrgency.ValueType = HELP_URGENCY_UNSPECIFIED,
        budget_micros: int | None = None,
        request_id: str = "",
    ) -> HelpRequest:
        """Ask for help with a task that cannot go on; it is parked until its blocker is resolved.

        Another call for the same claim changes the request, and helpers stay. Whoever works in a
        session says `TaskHandle.block` first, so that the session knows that the task is parked.

        Args:
            swarm_id: the swarm that holds the task.
            task_id: the task.
            attempt: the attempt of the claim.
            reason: what is wrong, 1 to 4096 characters.
            needs: capabilities that would help, 1 to 64.
            urgency: how soon; CRITICAL tells a person at once.
            budget_micros: the most that all helpers together may spend, in micro-US-dollars; None
                means what is left of the task's reservation, which is also the limit.
            request_id: id of this call, so that a repeat changes nothing.
        """
        request = pb2.RequestHelpRequest(
            swarm_id=swarm_id,
            task_id=task_id,
            attempt=attempt,
            reason=reason,
            needs=needs,
            urgency=urgency,
            budget_micros=budget_micros,
            request_id=request_id,
        )
        return (await self._calls.unary(lambda at: at.governor.RequestHelp, request)).help

    async def accept(self, swarm_id: str, help_id: str) -> pb2.AcceptHelpResponse:
        """Offer to help; that others were first is an answer with the reason.

        Args:
            swarm_id: the swarm that would help; asked or not, but not the one that asks.
            help_id: the request.
        """
        request = pb2.AcceptHelpRequest(help_id=help_id, swarm_id=swarm_id)
        return await self._calls.unary(lambda at: at.governor.AcceptHelp, request)

    async def list(
        self, state: HelpState.ValueType = HELP_STATE_UNSPECIFIED
    ) -> AsyncIterator[HelpRequest]:
        """Iterate over requests, the older ones first.

        Args:
            state: only those in it; all unless given, with those that ended within an hour.
        """
        request = pb2.ListHelpRequestsRequest(state=state)
        async for page in self._calls.pages(lambda at: at.governor.ListHelpRequests, request):
            for each in page.help:
                yield each
