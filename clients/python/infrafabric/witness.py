"""Calls that read the log of decisions."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from infrafabric.calls import Caller
from infrafabric.v1 import witness_service_pb2 as pb2
from infrafabric.v1.entry_pb2 import Entry


class Witness:
    """The log, as WitnessService shows it.

    Every method may raise the FabricErrors that its RPC lists.
    """

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def query(self, filters: pb2.QueryEntriesRequest | None = None) -> AsyncIterator[Entry]:
        """Iterate over entries by sequence, page by page.

        Args:
            filters: component, operation, swarm, task and times; None for all entries.
        """
        request = pb2.QueryEntriesRequest()
        if filters is not None:
            request.CopyFrom(filters)
        async for page in self._calls.pages(lambda at: at.witness.QueryEntries, request):
            for entry in page.entries:
                yield entry

    async def tail(self, filters: pb2.TailEntriesRequest | None = None) -> AsyncIterator[Entry]:
        """Iterate over each new entry as it is sealed, over cuts, without end.

        Args:
            filters: where to begin and what to leave out; None begins with what is new.
        """
        request = pb2.TailEntriesRequest()
        if filters is not None:
            request.CopyFrom(filters)
        tail = self._calls.resumed(lambda at: at.witness.TailEntries, lambda: request)
        async with aclosing(tail) as responses:
            async for response in responses:
                for entry in response.entries:
                    request.after_sequence = entry.sequence
                    yield entry
