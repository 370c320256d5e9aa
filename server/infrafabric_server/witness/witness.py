"""The witness: what was decided can be asked and followed, but by nobody changed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.log_copy import LogCopy
from infrafabric_server.witness.models import Entry, EntryFilter
from infrafabric_server.witness.sealer import Sealer
from infrafabric_server.witness.tail import Tail


@dataclass(frozen=True, slots=True)
class Place:
    """Where a query goes on: behind `after`, and no further than `upto`.

    `upto` stays what it was when the query began, so that a query of a growing log ends.
    """

    after: int
    upto: int


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries by sequence; `upto` belongs into the Place of the next page, if `more` follow."""

    entries: Sequence[Entry]
    upto: int
    more: bool


class IFWitness(Protocol):
    """Reads the log of decisions. Nothing can write to it but the decisions themselves."""

    async def query(self, wanted: EntryFilter, place: Place | None, limit: int) -> EntryPage:
        """Return a page of the entries that match, oldest first.

        A query that begins (`place` is None) includes all that was decided before the call.

        Args:
            wanted: which entries.
            place: where to go on; None to begin.
            limit: most entries in the page, at least 1; large ones make it shorter.

        Raises:
            FabricError: STORE_UNAVAILABLE when the log cannot be written or read.
        """
        ...

    def tail(self, wanted: EntryFilter, after: int | None) -> AsyncIterator[Sequence[Entry]]:
        """Yield the entries that match, then each new one as it is sealed, without end.

        Args:
            wanted: which entries.
            after: what follows this sequence, 0 for all, None for what is decided from now on.

        Raises:
            InvalidField: `after` is beyond the end of the log.
            FabricError: as `query`.
        """
        ...


class Witness:
    """The witness over a log, the sealer that writes it, and what is counted before that."""

    def __init__(
        self,
        log: WitnessLog,
        tail: Tail,
        sealer: Sealer,
        flood: Flood,
        *,
        copy: LogCopy | None = None,
        patience: float = 5.0,
    ) -> None:
        """Take the parts; `run` runs those that need it.

        Args:
            log: what is read; of several replicas, this one's copy.
            tail: its end in memory.
            sealer: moves decisions into the log.
            flood: counts what is not worth an entry each.
            copy: follows the log that several replicas share into `log`.
            patience: seconds that a reader waits for what was just decided to be sealed.
        """
        self._log = log
        self._tail = tail
        self._sealer = sealer
        self._flood = flood
        self._copy = copy
        self._patience = patience

    async def run(self) -> None:
        """Write what is decided into the log, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flood.run())
            group.create_task(self._sealer.run())
            if self._copy is not None:
                group.create_task(self._copy.run())

    async def flush(self) -> None:
        """Return when all that was decided before the call is in the log, and in this copy of it.

        Raises:
            FabricError: STORE_UNAVAILABLE when the log cannot be written in time, or this
                replica's copy is broken.
            StoreError: the store cannot be read.
        """
        try:
            async with asyncio.timeout(self._patience):
                await self._flood.flush()
                sequence = await self._sealer.flush()
                if self._copy is not None:
                    await self._copy.reached(sequence)
        except TimeoutError as error:
            raise FabricError(
                Reason.STORE_UNAVAILABLE,
                f"decisions could not be written to the witness log for {self._patience:g}"
                " seconds; see the server's log, and try again",
            ) from error

    async def query(self, wanted: EntryFilter, place: Place | None, limit: int) -> EntryPage:
        """Return a page of the entries that match; see IFWitness."""
        if place is None:
            await self.flush()
            place = await self._begin(wanted)
        entries, more = await self._log.read(
            wanted, after=place.after, upto=place.upto, limit=limit
        )
        return EntryPage(entries, place.upto, more)

    async def tail(self, wanted: EntryFilter, after: int | None) -> AsyncIterator[Sequence[Entry]]:
        """Yield the entries that match, then each new one as it is sealed; see IFWitness."""
        await self.flush()
        newest = self._tail.sequence
        if after is None:
            after = newest
        elif after > newest:
            rule = f"must be at most {newest}, the last sequence of the log"
            raise InvalidField(FieldViolation("after_sequence", rule))
        async for entries in self._tail.follow(wanted, after):
            yield entries

    async def _begin(self, wanted: EntryFilter) -> Place:
        newest = self._tail.sequence
        if wanted.after is None and wanted.before is None:
            return Place(0, newest)
        # Times do not always rise with the sequence, but the pages need not go beyond these.
        first, last = await self._log.span(wanted.after, wanted.before)
        return Place(first - 1, min(last, newest))
