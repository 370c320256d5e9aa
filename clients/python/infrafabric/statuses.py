"""Calls about statuses: report, read, watch, and speak to everyone."""

from collections.abc import AsyncIterator

from infrafabric.calls import Caller
from infrafabric.v1 import notify_service_pb2 as pb2


class Statuses:
    """Statuses, as NotifyService knows them.

    Every method may raise the FabricErrors that its RPC lists.
    """

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def notify(self, report: pb2.NotifyRequest) -> pb2.NotifyResponse:
        """Report a swarm's status; an unknown swarm registers itself."""
        return await self._calls.unary(lambda at: at.notify.Notify, report)

    def pages(self) -> AsyncIterator[pb2.GetStatusResponse]:
        """Iterate over pages of statuses by swarm id; the first one has the open blockers."""
        return self._calls.pages(lambda at: at.notify.GetStatus, pb2.GetStatusRequest())

    def watch(self, after_cursor: str = "") -> AsyncIterator[pb2.StatusEvent]:
        """Iterate over a snapshot and then every change, over cuts, without end.

        Args:
            after_cursor: cursor of the last event that was handled; empty for a snapshot.
        """
        return self._calls.watch(
            lambda at: at.notify.WatchStatus,
            lambda cursor: pb2.WatchStatusRequest(after_cursor=cursor),
            lambda response: response.events,
            after_cursor,
        )

    async def broadcast(self, message: str, *, request_id: str = "") -> int:
        """Send a text to every session and watcher; return how many sessions were open.

        Args:
            message: the text, 1 to 4096 characters.
            request_id: makes a repeat harmless for 24 hours; may be empty.
        """
        request = pb2.BroadcastRequest(message=message, request_id=request_id)
        return (await self._calls.unary(lambda at: at.notify.Broadcast, request)).sessions
