"""Reads a dump, once it is known to be whole."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from infrafabric_server.store.protocol import KeyValue
from infrafabric_server.transfer.dumpfile import NAME, VERSION, DumpError, Header, Summary
from infrafabric_server.witness.chain import GENESIS, read_entry
from infrafabric_server.witness.models import Entry

# What a line that is not of a dump can cause.
_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, RecursionError)
# A value is at most 64 MiB, and JSON can write a character in six bytes.
_LONGEST_LINE = 512 * 1024 * 1024


class Dump:
    """A dump that was read once from its beginning to its end and found whole.

    Args:
        path: of the file.

    Raises:
        DumpError: it cannot be read, or is not a whole dump.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                first = file.readline(_LONGEST_LINE)
                self.header = _header(path, first)
                self.summary = _check(path, file, first)
        except OSError as error:
            raise DumpError(f"{path}: cannot be read: {error.strerror}") from error

    def kvs(self) -> Iterator[tuple[int, KeyValue]]:
        """Yield the keys, sorted, each with the place of its line in the file."""
        with self.path.open("rb") as file:
            place = len(file.readline())
            for line in file:
                content = json.loads(line)
                if "key" not in content:
                    return
                yield place, _key(content)
                place += len(line)

    def kvs_at(self, places: Iterable[int]) -> Iterator[KeyValue]:
        """Yield the keys whose lines are at `places`."""
        with self.path.open("rb") as file:
            for place in places:
                file.seek(place)
                yield _key(json.loads(file.readline()))

    def entries(self) -> Iterator[Entry]:
        """Yield the entries of the witness log."""
        head = GENESIS
        with self.path.open("rb") as file:
            for line in file:
                content = json.loads(line)
                if "body" in content:
                    entry = read_entry(content["body"], head)
                    yield entry
                    head = entry.hash


def _header(path: Path, line: bytes) -> Header:
    try:
        content = json.loads(line)
        name, version = content["format"], content["version"]
        header = Header(
            int(content["revision"]), datetime.fromisoformat(content["time"]), content["store"]
        )
    except _UNREADABLE as error:
        raise DumpError(f"{path}: is not a dump of a fabric") from error
    if name != NAME:
        raise DumpError(f"{path}: is not a dump of a fabric")
    if version != VERSION:
        raise DumpError(
            f"{path}: is a dump of version {version}, and this program reads version {VERSION}: "
            "use the release that wrote it, or a newer one"
        )
    return header


def _check(path: Path, file: BinaryIO, first: bytes) -> Summary:
    total = hashlib.sha256(first)
    counting = _Counting()
    number = 1
    for line in iter(lambda: file.readline(_LONGEST_LINE), b""):
        number += 1
        try:
            content = json.loads(line)
            if "sha256" in content:
                return _end(path, content, counting, total.hexdigest(), file.read(1))
            fault = counting.fault(content)
        except _UNREADABLE:
            fault = "it is not what a dump is made of"
        if fault:
            raise DumpError(f"{path}: line {number} is damaged: {fault}; use another copy")
        total.update(line)
    raise DumpError(f"{path}: ends after line {number}, before its last one; use another copy")


def _end(
    path: Path, content: dict[str, Any], counting: "_Counting", found: str, behind: bytes
) -> Summary:
    summary = Summary(counting.keys, content["leased"], counting.entries, counting.head)
    told = (content["sha256"], content["keys"], content["entries"])
    if told != (found, summary.keys, summary.entries) or behind:
        raise DumpError(
            f"{path}: was changed since it was written, as its checksum tells; use another copy"
        )
    return summary


class _Counting:
    """Takes the lines one after another, and says what is wrong with one."""

    def __init__(self) -> None:
        self.keys = 0
        self.entries = 0
        self.head = GENESIS
        self._last = ""

    def fault(self, content: dict[str, Any]) -> str:
        """Return what is wrong with the next line; "" when it is good."""
        if "key" in content:
            kv = _key(content)
            if self.entries or kv.key <= self._last:
                return "its key is out of order"
            self.keys += 1
            self._last = kv.key
            return ""
        entry = read_entry(content["body"], self.head)
        if (entry.sequence, entry.hash) != (self.entries + 1, content["hash"]):
            return f"it does not follow entry {self.entries} of the witness log"
        self.entries, self.head = entry.sequence, entry.hash
        return ""


def _key(content: dict[str, Any]) -> KeyValue:
    key, value = content["key"], content["value"]
    numbers = content["created"], content["changed"], content["changes"]
    texts = isinstance(key, str) and isinstance(value, str)
    if not texts or not all(isinstance(number, int) and number > 0 for number in numbers):
        raise ValueError("a key has a text and three numbers")
    return KeyValue(key, value, *numbers)
