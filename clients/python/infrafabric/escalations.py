"""Calls about escalations: what wants a person, and who takes care of it."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from infrafabric.calls import Caller
from infrafabric.v1 import governor_escalation_pb2 as pb2
from infrafabric.v1.escalation_pb2 import Escalation, EscalationState


class Escalations:
    """Escalations, as GovernorService knows them.

    Every method may raise the FabricErrors that its RPC lists.
    """

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def list(
        self, state: EscalationState.ValueType = EscalationState.ESCALATION_STATE_UNSPECIFIED
    ) -> AsyncIterator[Escalation]:
        """Iterate over escalations by id.

        Args:
            state: only those in it; all unless given.
        """
        request = pb2.ListEscalationsRequest(state=state)
        async for page in self._calls.pages(lambda at: at.governor.ListEscalations, request):
            for escalation in page.escalations:
                yield escalation

    async def watch(self, after_cursor: str = "") -> AsyncIterator[pb2.WatchEscalationsResponse]:
        """Iterate over a snapshot and then every change, over cuts, without end.

        Args:
            after_cursor: cursor of the last response that was handled; empty for a snapshot.
        """
        request = pb2.WatchEscalationsRequest(after_cursor=after_cursor)
        resumed = self._calls.resumed(lambda at: at.governor.WatchEscalations, lambda: request)
        async with aclosing(resumed) as responses:
            async for response in responses:
                request.after_cursor = response.cursor or request.after_cursor
                yield response

    async def acknowledge(self, escalation_id: str, by: str, *, note: str = "") -> Escalation:
        """Say that somebody takes care of an escalation; a closed one is returned as it is.

        Args:
            escalation_id: which.
            by: who, 1 to 128 characters.
            note: what they say, at most 4096 characters.
        """
        request = pb2.AcknowledgeEscalationRequest(
            escalation_id=escalation_id, acknowledged_by=by, note=note
        )
        answer = await self._calls.unary(lambda at: at.governor.AcknowledgeEscalation, request)
        return answer.escalation
