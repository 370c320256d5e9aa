"""The port to the log of decisions: append-only, durable, readable by sequence."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from infrafabric_server.store.protocol import KeyValue
from infrafabric_server.witness.models import Entry, EntryFilter


class WitnessLog(Protocol):
    """The chain of sealed entries.

    Every method may raise StoreUnavailable when the log's disk fails, and StoreClosed;
    the next call tries again, so that the log recovers with its disk.
    """

    async def append(self, waiting: Sequence[KeyValue]) -> list[Entry]:
        """Seal the drafts of an outbox at the end of the chain, in the order given.

        A draft that is sealed already is not sealed again, so that a repeat doubles
        nothing. Returns the entries of all the drafts by sequence, when they are
        durable: all are written, or none. Raises StoreFull when the disk is full.
        """
        ...

    async def read(
        self, wanted: EntryFilter, *, after: int, upto: int, limit: int
    ) -> tuple[list[Entry], bool]:
        """Return the first entries with `after` < sequence <= `upto` that match, by sequence.

        At most `limit`, and fewer when their bodies are large, but one if there is one;
        and whether there are more.
        """
        ...

    async def span(self, after: datetime | None, before: datetime | None) -> tuple[int, int]:
        """Return the first and the last sequence decided in `after` <= time < `before`.

        (1, 0) when there is none. None leaves a bound open.
        """
        ...

    async def last(self) -> Entry | None:
        """Return the last entry of the chain, or None when it is empty."""
        ...

    async def close(self) -> None:
        """Finish what was begun, then release the file. Safe to repeat."""
        ...
