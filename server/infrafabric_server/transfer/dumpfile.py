"""The file that a fabric is dumped into.

It is UTF-8 text, one JSON object on each line, and each line ends with a line feed. `version` is
that of this form, `data_format` that of the records (see `store/data_format.py`)::

    {"format": "infrafabric-dump", "version": 1, "data_format": 1, "revision": 812, "time": "…", …}
    {"key": "tasks/a", "value": "{…}", "created": 17, "changed": 803, "changes": 4}
    …                                              all keys of one revision, sorted
    {"body": "{…}", "hash": "…"}
    …                                              the witness log, from its first entry on
    {"keys": 120, "leased": 3, "entries": 2041}
    {"sha256": "…"}

The last line but one counts the lines of each kind, and the keys that were left out because they
live on a lease; the last one has the checksum of all bytes before it. A file without it is not
whole. The witness log is that up to the same revision: what was decided by then is in it or waits
under `outbox/`.
"""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from infrafabric_server.store.data_format import DATA_FORMAT
from infrafabric_server.store.protocol import KeyValue
from infrafabric_server.witness.chain import GENESIS, link_hash
from infrafabric_server.witness.models import Entry, Sealed

NAME = "infrafabric-dump"
VERSION = 1


class DumpError(Exception):
    """The file cannot be written, or it is not a whole dump; the message says where and why."""


class ChainBrokenError(DumpError):
    """The witness log that was to be dumped is damaged."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a dump is of: all keys at `revision`, read at `time` from a kind of `store`."""

    revision: int
    time: datetime
    store: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in a dump; `head` is the hash of the last entry of the witness log."""

    keys: int = 0
    leased: int = 0
    entries: int = 0
    head: str = GENESIS


class Ending:
    """Tells whether a witness log goes as far as its fabric has it.

    Args:
        sealed: an entry that must be in it; None for a log that was never written.
    """

    def __init__(self, sealed: Sealed | None) -> None:
        self._sealed = sealed
        self._missing = sealed is not None
        self._last = 0

    def add(self, entry: Entry) -> None:
        """Take the next entry."""
        self._last = entry.sequence
        if self._missing and self._sealed == Sealed(sequence=entry.sequence, hash=entry.hash):
            self._missing = False

    def check(self) -> None:
        """Raise ChainBrokenError when the log is over and that entry was not in it."""
        if self._missing and self._sealed is not None:
            raise ChainBrokenError(
                f"the witness log goes up to entry {self._last}, and entry {self._sealed.sequence} "
                f"with the hash {self._sealed.hash} was sealed: bring back the log that was there; "
                "of replicas, `infrafabric store restore-log` takes it from a folder"
            )


class DumpWriter:
    """Writes a dump beside its place and moves it there when it is whole; a context manager.

    Args:
        path: of the file, which is replaced if it is there.
        header: what comes first.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self._header = header
        self._hash = hashlib.sha256()
        self._keys = self._leased = self._entries = 0
        self._head = GENESIS
        self._file: BinaryIO | None = None
        self._temporary = ""

    def __enter__(self) -> Self:
        try:
            # Its mode is 0600: a dump holds all that a fabric knows.
            number, self._temporary = tempfile.mkstemp(
                prefix=f".{self._path.name}-", dir=self._path.parent
            )
        except OSError as error:
            raise _not_written(self._path, error) from error
        self._file = os.fdopen(number, "wb")
        self._line(
            {
                "format": NAME,
                "version": VERSION,
                "data_format": DATA_FORMAT,
                "revision": self._header.revision,
                "time": self._header.time.astimezone(UTC).isoformat(),
                "store": self._header.store,
            }
        )
        return self

    def key(self, kv: KeyValue) -> None:
        """Write a key, or count it when it lives on a lease, which ends with its process."""
        if kv.lease:
            self._leased += 1
            return
        self._keys += 1
        self._line(
            {
                "key": kv.key,
                "value": kv.value,
                "created": kv.create_revision,
                "changed": kv.mod_revision,
                "changes": kv.version,
            }
        )

    def entry(self, entry: Entry) -> None:
        """Write the next entry of the witness log. Raises ChainBrokenError."""
        check_link(entry, self._entries, self._head)
        self._entries, self._head = entry.sequence, entry.hash
        self._line({"body": entry.body, "hash": entry.hash})

    def finish(self) -> Summary:
        """Write the last line, bring all of it to the disk, and move the file to its place."""
        assert self._file is not None
        total = {"keys": self._keys, "leased": self._leased, "entries": self._entries}
        self._line(total)
        self._line({"sha256": self._hash.hexdigest()})
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            Path(self._temporary).replace(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            raise _not_written(self._path, error) from error
        self._temporary = ""
        return Summary(**total, head=self._head)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._temporary:
            Path(self._temporary).unlink(missing_ok=True)
        if self._file is not None:
            # A full disk refuses what is in the buffer again; that it is full was said.
            with suppress(OSError):
                self._file.close()

    def _line(self, content: dict[str, Any]) -> None:
        assert self._file is not None
        # Half a surrogate pair, which JSON can name and UTF-8 cannot, is written as its escape.
        line = json.dumps(content).encode() + b"\n"
        self._hash.update(line)
        try:
            self._file.write(line)
        except OSError as error:
            raise _not_written(self._path, error) from error


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def check_link(entry: Entry, sequence: int, head: str) -> None:
    """Raise ChainBrokenError unless `entry` follows the one with this sequence and hash."""
    expected = sequence + 1
    linked = entry.sequence == expected and entry.previous_hash == head
    if not linked or link_hash(head, entry.body) != entry.hash:
        raise ChainBrokenError(
            f"entry {expected} of the witness log does not follow from the one before: look with "
            "`infrafabric witness verify`, and restore the log from a copy first"
        )


def _not_written(path: Path, error: OSError) -> DumpError:
    return DumpError(f"{path}: cannot be written: {error.strerror}")
