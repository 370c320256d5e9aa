"""The chain: how entries are linked by hashes, and how a reader finds the first bad one.

The hash of an entry covers the hash of the one before, so that no entry can be changed,
dropped, inserted or moved without breaking every link after it. Two things a bare chain
cannot show: entries cut off at its end, and a chain that was forged anew from some entry to
the end. Both change the last hash: whoever noted the last sequence and hash that the server
reported (`Verification` has them) sees them by comparing.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC
from typing import Any, Protocol

from infrafabric_server.witness.models import Draft, Entry

# What the first entry names as the hash of the entry before.
GENESIS = "0" * 64

# What a body that is no entry can cause: not JSON, not an object, a field missing or of a
# wrong type, nested without end, a time beyond all calendars.
_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, RecursionError, OverflowError)

_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


def canonical(content: dict[str, Any]) -> str:
    """Return the one JSON text of `content`: sorted keys, no spaces, characters as they are."""
    return _encode(content)


def link_hash(previous_hash: str, body: str) -> str:
    """Return the SHA-256, in hexadecimal, of `previous_hash`, a line feed and `body`."""
    # Text that is not Unicode has no place in an entry; it has a hash, so that it can be found.
    return hashlib.sha256(f"{previous_hash}\n{body}".encode(errors="surrogatepass")).hexdigest()


def seal(draft: Draft, entry_id: str, revision: int, sequence: int, previous_hash: str) -> Entry:
    """Return `draft`, decided at the store's `revision`, as the entry `sequence` of the chain."""
    time = draft.time.astimezone(UTC)
    body = canonical(
        {
            "sequence": sequence,
            "entry_id": entry_id,
            "decide_time": time.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z",
            "component": draft.component,
            "operation": draft.operation,
            "swarm_id": draft.swarm_id,
            "task_id": draft.task_id,
            "attempt": draft.attempt,
            "revision": revision,
            "details": draft.details,
        }
    )
    return Entry(
        sequence=sequence,
        entry_id=entry_id,
        decide_time=time,
        component=draft.component,
        operation=draft.operation,
        swarm_id=draft.swarm_id,
        task_id=draft.task_id,
        attempt=draft.attempt,
        revision=revision,
        body=body,
        previous_hash=previous_hash,
        hash=link_hash(previous_hash, body),
    )


def read_entry(body: str, previous_hash: str) -> Entry:
    """Return the entry that `body` describes, with the hash that it should have.

    Raises:
        ValueError: `body` is not the canonical text of an entry.
    """
    try:
        content = json.loads(body)
        draft = Draft(time=content.pop("decide_time"), **content)
        entry = seal(
            draft, content["entry_id"], content["revision"], content["sequence"], previous_hash
        )
    except _UNREADABLE as error:
        raise ValueError("its body is not the JSON of an entry") from error
    if entry.body != body:
        raise ValueError("its body is not the canonical JSON of an entry")
    return entry


@dataclass(frozen=True, slots=True)
class Break:
    """The first bad entry of a chain: where it stands and what is wrong with it."""

    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: the last good entry, and the break behind it, if there is one.

    `sequence` is 0 and `hash` 64 zeros when not even the first entry is good.
    """

    sequence: int
    hash: str
    broken: Break | None


class Link(Protocol):
    """What is checked: an Entry, or an entry as the contract sends it."""

    @property
    def sequence(self) -> int:
        """Place in the log."""
        ...

    @property
    def body(self) -> str:
        """Canonical JSON text."""
        ...

    @property
    def previous_hash(self) -> str:
        """Hash of the entry before."""
        ...

    @property
    def hash(self) -> str:
        """Hash of this entry."""
        ...


_ENTRY_FIELDS = tuple(each.name for each in fields(Entry))
# The same in every form of an entry: numbers and texts.
_PLAIN_FIELDS = ("entry_id", "component", "operation", "swarm_id", "task_id", "attempt")


class Verifier:
    """Checks a chain entry by entry, in constant memory, from its beginning."""

    def __init__(self) -> None:
        self._sequence = 0
        self._hash = GENESIS
        self._broken: Break | None = None

    @property
    def result(self) -> Verification:
        """What the entries so far have shown."""
        return Verification(self._sequence, self._hash, self._broken)

    def check(self, entry: Link) -> Break | None:
        """Take the next entry; return the break that it, or an earlier one, made."""
        if self._broken is None:
            reason = self._fault(entry)
            if reason is None:
                self._sequence, self._hash = entry.sequence, entry.hash
            else:
                self._broken = Break(self._sequence + 1, reason)
        return self._broken

    def _fault(self, entry: Link) -> str | None:
        expected = self._sequence + 1
        if entry.sequence != expected:
            return _order_fault(entry.sequence, expected)
        if link_hash(entry.previous_hash, entry.body) != entry.hash:
            return "its hash does not belong to its body and previous hash: one was changed"
        if entry.previous_hash != self._hash:
            return f"it does not follow entry {self._sequence}: one of the two was replaced"
        try:
            described = read_entry(entry.body, entry.previous_hash)
        except ValueError as error:
            return str(error)
        for name in _ENTRY_FIELDS if isinstance(entry, Entry) else _PLAIN_FIELDS:
            if getattr(entry, name) != getattr(described, name):
                return f"its {name} is not what its body says"
        return None


def verify(entries: Iterable[Link]) -> Verification:
    """Check `entries`, which must be all from the first one on, in order of the log."""
    verifier = Verifier()
    for entry in entries:
        if verifier.check(entry) is not None:
            break
    return verifier.result


def _order_fault(found: object, expected: int) -> str:
    # A table that somebody made anew may hold anything.
    if not isinstance(found, int):
        return "its sequence is not a number"
    if found > expected:
        return f"it is missing: entry {found} comes instead"
    return f"entry {found} comes again or too late instead"
