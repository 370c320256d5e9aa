"""The port to the end of the log, where drafts become entries."""

from collections.abc import Sequence
from typing import Protocol

from infrafabric_server.store.protocol import KeyValue
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.models import Entry, Sealed
from infrafabric_server.witness.tail import Tail


class Appender(Protocol):
    """Seals drafts at the end of the log.

    Every method may raise StoreUnavailable and StoreFull; whether an append was done is then
    unknown. The next call is `begin`.
    """

    async def begin(self, sealed: Sealed | None) -> None:
        """Find the end of the log; what is appended then was in the outbox after this returned.

        `sealed` is up to where the log is known to go: one that ends before that lost entries,
        and is not written to.
        """
        ...

    async def append(self, waiting: Sequence[KeyValue]) -> list[Entry]:
        """Seal the first of `waiting`, which are in the order of decision and at least one.

        Returns the entries of one or more of them by sequence, when they are durable: those
        that were sealed before, so that a repeat doubles nothing, or that are sealed now. All
        of them must have left the outbox before the next call.
        """
        ...


class LocalAppender:
    """The appender of the only process, to a log of its own."""

    def __init__(self, log: WitnessLog, tail: Tail) -> None:
        """Take the log, and its end in memory, which is told what is sealed."""
        self._log = log
        self._tail = tail

    async def begin(self, sealed: Sealed | None) -> None:
        """See Appender; the log itself knows its end."""

    async def append(self, waiting: Sequence[KeyValue]) -> list[Entry]:
        """See Appender."""
        entries = await self._log.append(waiting)
        self._tail.add(entries)
        return entries
