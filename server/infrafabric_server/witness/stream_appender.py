"""Sealing into a stream that several replicas share."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from infrafabric_server.store.protocol import KeyValue, StoreError, StoreUnavailable
from infrafabric_server.witness.batches import seal_batch, unpack
from infrafabric_server.witness.drafts import entry_ids
from infrafabric_server.witness.log_copy import LogCopy
from infrafabric_server.witness.models import Entry, Sealed
from infrafabric_server.witness.stream import LogStream, Message, Superseded

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _End:
    """The end of the stream: the position of its last message, and what that holds."""

    position: int
    entries: Sequence[Entry]

    @property
    def head(self) -> Entry | None:
        return self.entries[-1] if self.entries else None


class StreamAppender:
    """The appender to a stream; see Appender.

    A message is added right behind the last one that is known here, or not at all. So when an
    answer does not come, or another leader was faster, nothing has to be guessed: `begin`
    reads the last message, and drafts that it holds are sealed.

    Those of earlier messages have left the outbox, as no sealer appends before it removed
    what it appended last. But for one case: a store that was brought back from an old copy
    has drafts again that were sealed long ago. They are looked up in the copy of the log, for
    which `begin` waits until it is as long as the stream. One that cannot be written does not
    keep the fabric from sealing.
    """

    def __init__(self, stream: LogStream, copy: LogCopy) -> None:
        """Take where the log is, and this replica's copy of it."""
        self._stream = stream
        self._copy = copy
        self._end: _End | None = None

    async def begin(self, sealed: Sealed | None) -> None:
        """See Appender."""
        self._end = None
        message = await self._stream.last()
        entries = [] if message is None else await asyncio.to_thread(_unpack, message)
        end = _End(0 if message is None else message.position, entries)
        self._check(end, sealed)
        await self._stream.create()
        if end.head is not None:
            await self._await_copy(end.head)
        self._end = end

    async def append(self, waiting: Sequence[KeyValue]) -> list[Entry]:
        """See Appender."""
        end = self._end
        if end is None:
            raise StoreUnavailable("the end of the witness log is not known")
        if known := await self._known(waiting, end):
            return known
        entries, payload = await asyncio.to_thread(seal_batch, waiting, end.head, self._stream.room)
        # Until the answer is here, the end is not known.
        self._end = None
        try:
            position = await self._stream.append(payload, end.position)
        except Superseded as error:
            raise StoreUnavailable(f"another replica seals: {error}") from error
        self._end = _End(position, entries)
        return entries

    async def _known(self, waiting: Sequence[KeyValue], end: _End) -> list[Entry]:
        ids = entry_ids(waiting)
        wanted = set(ids)
        if known := [entry for entry in end.entries if entry.entry_id in wanted]:
            return known
        try:
            return await self._copy.find(ids)
        except StoreError as error:
            _log.warning("witness_copy_not_asked", reason=str(error))
            return []

    async def _await_copy(self, head: Entry) -> None:
        self._copy.expect(Sealed(sequence=head.sequence, hash=head.hash))
        await self._copy.settled(head.sequence)
        if self._copy.trouble:
            _log.warning("sealing_without_copy", reason=self._copy.trouble)

    def _check(self, end: _End, sealed: Sealed | None) -> None:
        sequence = 0 if end.head is None else end.head.sequence
        if sealed is not None and sequence < sealed.sequence:
            raise StoreUnavailable(
                f"the stream of the witness log ends at entry {sequence}, and entry"
                f" {sealed.sequence} was sealed: bring back the stream that was there"
            )


def _unpack(message: Message) -> list[Entry]:
    try:
        return unpack(message.payload)
    except ValueError as error:
        raise StoreUnavailable(
            f"the last message of the witness log, {message.position}, is damaged: {error}"
        ) from error
