"""Reads a dump, once it is known to be whole."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from infrafabric_server.store.data_format import UNNAMED, OtherFormat, check_data_format
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
        data_format = content.get("data_format", UNNAMED)
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
    try:
        check_data_format(str(path), data_format)
    except OtherFormat as error:
        raise DumpError(str(error)) from error
    return header


def _check(path: Path, file: BinaryIO, first: bytes) -> Summary:
    total = hashlib.sha256(first)
    counting = _Counting()
    number = 1
    for line in iter(lambda: file.readline(_LONGEST_LINE), b""):
        number += 1
        try:
            content = json.loads(line)
            if content.get("sha256") == total.hexdigest() and line.endswith(b"\n"):
                if counting.summary is not None and not file.read(1):
                    return counting.summary
                raise DumpError(f"{path}: is more than one dump, or a part of one")
            fault = counting.fault(content)
        except _UNREADABLE:
            fault = "it is not what a dump is made of"
        if fault:
            raise DumpError(f"{path}: line {number} is damaged: {fault}; use another copy")
        total.update(line)
    raise DumpError(f"{path}: ends after line {number}, before its last one; use another copy")


class _Counting:
    """Takes the lines one after another, and says what is wrong with one."""

    def __init__(self) -> None:
        self.summary: Summary | None = None
        self._keys = 0
        self._entries = 0
        self._head = GENESIS
        self._last = ""

    def fault(self, content: dict[str, Any]) -> str:
        """Return what is wrong with the next line; "" when it is good."""
        if "sha256" in content:
            return "its checksum does not fit what is before it"
        if self.summary is not None:
            return "it comes after the end"
        if "keys" in content:
            told = (content["keys"], content["entries"])
            if told != (self._keys, self._entries):
                return "it counts other lines than there are"
            self.summary = Summary(self._keys, content["leased"], self._entries, self._head)
            return ""
        return self._key(content) if "key" in content else self._entry(content)

    def _key(self, content: dict[str, Any]) -> str:
        kv = _key(content)
        if self._entries or kv.key <= self._last:
            return "its key is out of order"
        self._keys += 1
        self._last = kv.key
        return ""

    def _entry(self, content: dict[str, Any]) -> str:
        entry = read_entry(content["body"], self._head)
        if (entry.sequence, entry.hash) != (self._entries + 1, content["hash"]):
            return f"it does not follow entry {self._entries} of the witness log"
        self._entries, self._head = entry.sequence, entry.hash
        return ""


def _key(content: dict[str, Any]) -> KeyValue:
    key, value = content["key"], content["value"]
    numbers = content["created"], content["changed"], content["changes"]
    texts = isinstance(key, str) and isinstance(value, str)
    if not texts or not all(isinstance(number, int) and number > 0 for number in numbers):
        raise ValueError("a key has a text and three numbers")
    return KeyValue(key, value, *numbers)
