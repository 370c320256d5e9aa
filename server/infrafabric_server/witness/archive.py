"""The log in its stream as a whole, for moving a fabric from one place to another."""

from collections.abc import AsyncGenerator, Sequence

from infrafabric_server.store.protocol import StoreRefused
from infrafabric_server.witness.batches import fitting, misfit, unpack
from infrafabric_server.witness.jetstream import JetStream
from infrafabric_server.witness.models import Entry
from infrafabric_server.witness.stream import Message


class Archive:
    """Reads and writes sealed entries as they are, while no server of the fabric runs."""

    def __init__(self, stream: JetStream) -> None:
        """Take the stream, which need not be there."""
        self._stream = stream
        # Of the last message, once it was asked for.
        self._end: tuple[int, Entry | None] | None = None

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """Yield what is sealed up to now, from the first entry on.

        Raises StoreRefused for a message that does not follow from the one before, and
        StoreUnavailable.
        """
        last = await self._stream.last()
        head: Entry | None = None
        for position in range(1, 1 if last is None else last.position + 1):
            for entry in _unpack(await self._stream.get(position), position):
                if reason := misfit(head, entry):
                    raise StoreRefused(f"message {position} of the witness log: {reason}")
                head = entry
                yield entry

    async def is_empty(self) -> bool:
        """Tell whether nothing was ever sealed. Raises StoreUnavailable."""
        return await self._stream.last() is None

    async def clear(self) -> None:
        """Remove all of it. Raises StoreUnavailable."""
        self._end = None
        await self._stream.remove()

    async def append(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow the last one to the end, durably.

        Raises StoreRefused when they do not follow; after StoreUnavailable it is unknown how
        many were added, and only what is left to add may be given again.
        """
        if self._end is None:
            await self._stream.create()
            last = await self._stream.last()
            found = [] if last is None else _unpack(last, last.position)
            self._end = (0, None) if last is None else (last.position, found[-1])
        position, head = self._end
        self._end = None
        if entries and (reason := misfit(head, entries[0])):
            raise StoreRefused(f"the witness log cannot go on like that: {reason}")
        while entries:
            chosen, payload = fitting(entries, self._stream.room)
            position = await self._stream.append(payload, position)
            head = chosen[-1]
            entries = entries[len(chosen) :]
        self._end = position, head


def _unpack(message: Message | None, position: int) -> list[Entry]:
    if message is None:
        raise StoreRefused(f"message {position} of the witness log is missing")
    try:
        return unpack(message.payload)
    except ValueError as error:
        raise StoreRefused(f"message {position} of the witness log: {error}") from error
