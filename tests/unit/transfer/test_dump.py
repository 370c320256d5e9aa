"""A dump is read as it was written, or not at all."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrafabric_server.store.protocol import KeyValue
from infrafabric_server.transfer.dumpfile import DumpError, DumpWriter, Header, Summary
from infrafabric_server.transfer.dumpreader import Dump
from infrafabric_server.witness.chain import GENESIS, seal
from infrafabric_server.witness.models import Draft, Entry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_text = st.text(st.characters(codec="utf-8"), max_size=8)
_keys = st.lists(
    st.builds(
        lambda key, value, created, more, changes, lease: KeyValue(
            key, value, created, created + more, changes, lease
        ),
        _text.filter(bool),
        _text,
        st.integers(1, 2**62),
        st.integers(0, 2**40),
        st.integers(1, 2**40),
        st.sampled_from([0, 0, 0, 7]),
    ),
    unique_by=lambda kv: kv.key,
    max_size=6,
).map(lambda kvs: sorted(kvs, key=lambda kv: kv.key))


def sealed(texts: list[str]) -> list[Entry]:
    entries: list[Entry] = []
    for number, text in enumerate(texts, 1):
        draft = Draft(time=NOW, component="kit", operation="said", details={"text": text})
        head = entries[-1].hash if entries else GENESIS
        entries.append(seal(draft, f"id-{number}", number, number, head))
    return entries


def written(path: Path, kvs: list[KeyValue], entries: list[Entry]) -> Summary:
    with DumpWriter(path, Header(2**62, NOW, "sqlite")) as writer:
        for kv in kvs:
            writer.key(kv)
        for entry in entries:
            writer.entry(entry)
        return writer.finish()


@settings(deadline=None)
@given(_keys, st.lists(_text, max_size=4).map(sealed))
def test_what_is_read_is_what_was_written(kvs: list[KeyValue], entries: list[Entry]) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "dump"
        summary = written(path, kvs, entries)
        dump = Dump(path)
        places = [place for place, _ in dump.kvs()]
        assert [kv for _, kv in dump.kvs()] == [kv for kv in kvs if not kv.lease]
        assert list(dump.kvs_at(reversed(places))) == [kv for _, kv in dump.kvs()][::-1]
        assert list(dump.entries()) == entries
        assert dump.summary == summary
        assert dump.header == Header(2**62, NOW, "sqlite")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dump") / "dump"
    written(path, [KeyValue("a", "1", 1, 2, 3), KeyValue("b", "2", 1, 1, 1)], sealed(["x", "y"]))
    return path


@settings(deadline=None)
@given(data=st.data())
def test_no_byte_can_change_unseen(whole: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    changed = whole.with_name("changed")
    changed.write_bytes(content)
    with pytest.raises(DumpError):
        Dump(changed)


@settings(deadline=None)
@given(data=st.data())
def test_no_end_can_be_missing_unseen(whole: Path, data: st.DataObject) -> None:
    content = whole.read_bytes()
    short = whole.with_name("short")
    short.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(DumpError):
        Dump(short)


def test_a_dump_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    first = written(path, [], sealed(["x"]))
    one, two = sealed(["x", "y"])
    with pytest.raises(DumpError, match="entry 1 of the witness log"):
        written(path, [], [two, one])
    assert Dump(path).summary == first
    assert list(tmp_path.iterdir()) == [path]


def named(whole: Path, number: int | None) -> Path:
    """Return a dump as a release with another format of the records would write it."""
    _, *lines, _ = whole.read_bytes().splitlines(keepends=True)
    header = json.loads(whole.read_bytes().splitlines()[0]) | {"data_format": number}
    if number is None:
        del header["data_format"]
    content = b"".join([json.dumps(header).encode() + b"\n", *lines])
    checksum = {"sha256": hashlib.sha256(content).hexdigest()}
    path = whole.with_name(f"format-{number}")
    path.write_bytes(content + json.dumps(checksum).encode() + b"\n")
    return path


def test_a_dump_of_a_newer_format_is_refused(whole: Path) -> None:
    newer = named(whole, 3)
    with pytest.raises(
        DumpError, match=r"format-3 has records of format 3, and this release knows format 2; start"
    ):
        Dump(newer)
    # Written before formats had a number.
    assert Dump(named(whole, None)).summary == Dump(named(whole, 1)).summary == Dump(whole).summary
