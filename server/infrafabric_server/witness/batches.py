"""Sealed entries as messages of a stream, a batch each.

A message is UTF-8 text, compressed with zlib::

    {"previous_hash": "0000…", "entries": [{"hash": "9f3a…", "body": "{…}"}, …]}

Compressed, any entry fits into a message of 1 MiB, which is as much as NATS takes unless told
otherwise: one of 262,144 characters can have four bytes for each, but at most 21 bits that
cannot be guessed.
"""

import json
import zlib
from collections.abc import Iterable, Sequence
from itertools import islice

from infrafabric_server.store.protocol import KeyValue, StoreUnavailable
from infrafabric_server.witness.chain import GENESIS, read_entry
from infrafabric_server.witness.drafts import seal_drafts
from infrafabric_server.witness.models import Entry

# Characters of drafts in one message, or one draft: a few milliseconds of work.
_CHARACTERS = 1024 * 1024
# The fastest; entries are much alike, so that it makes a fifth of them all the same.
_LEVEL = 1
# What was packed is well below this; a message that somebody else made may not be.
_LARGEST = 64 * 1024 * 1024
_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, RecursionError, zlib.error)


def seal_batch(
    waiting: Sequence[KeyValue], head: Entry | None, room: int
) -> tuple[list[Entry], bytes]:
    """Return the entries of the first of `waiting`, which follow `head`, and their message.

    As many as fit into `room` bytes. Raises StoreUnavailable when not even one does.
    """
    return fitting(list(seal_drafts(_some(waiting), (), head)), room)


def fitting(entries: Sequence[Entry], room: int) -> tuple[list[Entry], bytes]:
    """Return the first of `entries` that fit into `room` bytes, and their message.

    Raises StoreUnavailable when not even one does.
    """
    chosen = list(entries)
    while len(payload := pack(chosen)) > room:
        if len(chosen) == 1:
            raise StoreUnavailable(
                f"entry {chosen[0].sequence} takes {len(payload)} bytes, and NATS takes messages"
                f" of {room}; set its max_payload to 1MB or more"
            )
        del chosen[len(chosen) // 2 :]
    return chosen, payload


def pack(entries: Sequence[Entry]) -> bytes:
    """Return the message with `entries`, which follow one another and are at least one."""
    content = {
        "previous_hash": entries[0].previous_hash,
        "entries": [{"hash": entry.hash, "body": entry.body} for entry in entries],
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return zlib.compress(text.encode(errors="surrogatepass"), _LEVEL)


def unpack(payload: bytes) -> list[Entry]:
    """Return the entries of a message, each of which follows the one before.

    Raises ValueError saying what is wrong with it.
    """
    try:
        bodies, hashes, previous_hash = _read(payload)
    except _UNREADABLE as error:
        raise ValueError(f"it is no batch of entries: {error}") from error
    entries: list[Entry] = []
    for body, stated in zip(bodies, hashes, strict=True):
        try:
            entry = read_entry(body, previous_hash)
        except ValueError as error:
            raise ValueError(f"one of its entries is damaged: {error}") from error
        if entry.hash != stated:
            raise ValueError(f"the hash of entry {entry.sequence} is not that of its body")
        if reason := misfit(entries[-1] if entries else None, entry, first=not entries):
            raise ValueError(reason)
        previous_hash = entry.hash
        entries.append(entry)
    return entries


def misfit(head: Entry | None, entry: Entry, *, first: bool = False) -> str:
    """Return why `entry` does not follow `head` in a chain, or "" when it does.

    `head` is None for the beginning of the chain; the `first` of a message follows anything.
    """
    sequence, previous_hash = (0, GENESIS) if head is None else (head.sequence, head.hash)
    if first or (entry.sequence, entry.previous_hash) == (sequence + 1, previous_hash):
        return ""
    if entry.sequence != sequence + 1:
        return f"entry {entry.sequence} comes where entry {sequence + 1} belongs"
    return f"entry {entry.sequence} does not follow from entry {sequence}"


def _read(payload: bytes) -> tuple[list[str], list[str], str]:
    reader = zlib.decompressobj()
    text = reader.decompress(payload, _LARGEST)
    if not reader.eof or reader.unused_data:
        raise ValueError("it is cut off, or too large")
    content = json.loads(text.decode(errors="surrogatepass"))
    entries = content["entries"]
    if not entries:
        raise ValueError("it is empty")
    bodies = [entry["body"] for entry in entries]
    hashes = [entry["hash"] for entry in entries]
    return bodies, hashes, content["previous_hash"]


def _some(waiting: Iterable[KeyValue]) -> list[KeyValue]:
    room = _CHARACTERS
    count = 0
    waiting = list(waiting)
    for kv in waiting:
        room -= len(kv.value)
        if count and room < 0:
            break
        count += 1
    return list(islice(waiting, count))
