"""The witness log of several replicas, read as a whole and continued from a dump."""

import asyncio
from collections.abc import AsyncGenerator, Iterator

from infrafabric_server.store.protocol import StoreRefused
from infrafabric_server.witness.batches import fitting, misfit, unpack
from infrafabric_server.witness.models import Entry
from infrafabric_server.witness.stream import LogStream, Message

# Messages that are asked for at once.
_WINDOW = 16
# What is offered to one message: entries, and characters of their bodies. As many as fit go.
_BATCH = 1_000
_CHARACTERS = 1024 * 1024


async def read(stream: LogStream) -> AsyncGenerator[Entry, None]:
    """Yield the entries of `stream` as far as it goes, and check each against the one before.

    Raises:
        StoreRefused: a message is damaged or missing.
        StoreUnavailable: the stream cannot be read.
    """
    head: Entry | None = None
    last = await stream.last()
    end = 0 if last is None else last.position
    for start in range(1, end + 1, _WINDOW):
        window = range(start, min(start + _WINDOW, end + 1))
        messages = await asyncio.gather(*map(stream.get, window))
        for position, message in zip(window, messages, strict=True):
            for entry in await asyncio.to_thread(_entries, position, message):
                if reason := misfit(head, entry):
                    raise _damaged(position, reason)
                yield entry
                head = entry


async def going_on(stream: LogStream, entries: Iterator[Entry]) -> tuple[Entry | None, int]:
    """Compare what is in `stream` with `entries`, of which it takes as many as are there.

    Returns the last entry of the stream, and how many it has beyond all of `entries`.

    Raises:
        StoreRefused: one is not like the other, so that they are different logs.
    """
    head: Entry | None = None
    more = 0
    async for entry in read(stream):
        known = next(entries, None)
        if known is None:
            more += 1
        elif known != entry:
            raise StoreRefused(
                f"NATS holds another witness log: its entry {entry.sequence} is not that of the "
                "dump; restore with another --nats-subject"
            )
        head = entry
    return head, more


async def extend(stream: LogStream, entries: Iterator[Entry]) -> None:
    """Append `entries`, which follow the last one of `stream`; the stream is made for them."""
    await stream.create()
    last = await stream.last()
    position = 0 if last is None else last.position
    waiting: list[Entry] = []
    while waiting := _filled(waiting, entries):
        taken, payload = await asyncio.to_thread(fitting, waiting, stream.room)
        position = await stream.append(payload, position)
        del waiting[: len(taken)]


def _filled(waiting: list[Entry], entries: Iterator[Entry]) -> list[Entry]:
    size = sum(len(entry.body) for entry in waiting)
    while len(waiting) < _BATCH and size < _CHARACTERS:
        entry = next(entries, None)
        if entry is None:
            break
        waiting.append(entry)
        size += len(entry.body)
    return waiting


def _entries(position: int, message: Message | None) -> list[Entry]:
    if message is None:
        raise _damaged(position, "it is missing")
    try:
        return unpack(message.payload)
    except ValueError as error:
        raise _damaged(position, str(error)) from error


def _damaged(position: int, reason: str) -> StoreRefused:
    return StoreRefused(
        f"message {position} of the witness log's stream is damaged: {reason}; restore the log "
        "from the folder of a replica"
    )
