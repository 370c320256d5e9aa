"""The pure parts of the etcd adapter: addresses, revisions that come in pieces, layout."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.store.etcd import Access, EtcdAddress
from infrafabric_server.store.etcd.layout import Layout
from infrafabric_server.store.etcd.watch import Assembler
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import StoreRefused


def test_an_address_names_members_and_prefix() -> None:
    address = EtcdAddress.parse("etcds://a.example:2379,[::1]:2380/prod-1")
    assert address == EtcdAddress(("a.example:2379", "[::1]:2380"), "prod-1", tls=True)
    assert str(address) == "etcds://a.example:2379,[::1]:2380/prod-1"
    assert EtcdAddress.parse("etcd://h:1") == EtcdAddress(("h:1",), "infrafabric")
    assert EtcdAddress.parse("etcd://h:1/").prefix == "infrafabric"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("h:2379", "etcd://HOST"),
        ("http://h:2379", "etcd://HOST"),
        ("etcd://h", "HOST:PORT"),
        ("etcd://h:0", "HOST:PORT"),
        ("etcd://h:65536", "HOST:PORT"),
        ("etcd://h:x", "HOST:PORT"),
        ("etcd://", "HOST:PORT"),
        ("etcd://h:1,", "HOST:PORT"),
        ("etcd://h:1?user=x", "HOST:PORT"),
        ("etcd://h:1,h:1", "twice"),
        ("etcd://h:1/a/b", "prefix"),
        ("etcd://h:1/ä", "prefix"),
    ],
)
def test_an_address_that_breaks_a_rule_is_refused(text: str, rule: str) -> None:
    with pytest.raises(StoreRefused, match=rule):
        EtcdAddress.parse(text)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(StoreRefused, match="file") as refused:
        EtcdAddress.parse("etcd://me:secret@h:1/p")
    assert "secret" not in str(refused.value)


def test_access_comes_from_files_and_environment_and_is_not_shown(tmp_path: Path) -> None:
    for name, text in (("ca", "C"), ("cert", "D"), ("key", "K"), ("password", "secret\nmore")):
        (tmp_path / name).write_text(text)
    access = Access.load(
        {},
        ca_file=tmp_path / "ca",
        certificate_file=tmp_path / "cert",
        key_file=tmp_path / "key",
        user="me",
        password_file=tmp_path / "password",
    )
    assert access == Access(b"C", b"D", b"K", "me", "secret")
    assert repr(access) == "Access(user='me')"
    assert Access.load({"INFRAFABRIC_ETCD_PASSWORD": "p"}, user="me").password == "p"
    with pytest.raises(StoreRefused, match="no password"):
        Access.load({}, user="me")
    with pytest.raises(StoreRefused, match="needs its key"):
        Access.load({}, certificate_file=tmp_path / "cert")
    with pytest.raises(StoreRefused, match="nowhere"):
        Access.load({}, ca_file=tmp_path / "nowhere")


@given(st.lists(st.integers(1, 4), max_size=8), st.data())
def test_revisions_are_whole_however_their_events_are_cut(
    sizes: list[int], data: st.DataObject
) -> None:
    events = [
        pb.Event(kv=pb.KeyValue(key=f"{place}".encode(), mod_revision=revision))
        for revision, size in enumerate(sizes, 1)
        for place in range(size)
    ]
    # Where responses end: anywhere in fragments, between two revisions otherwise.
    ends = sorted(data.draw(st.sets(st.integers(1, max(1, len(events) - 1)))))
    assembler, told, start = Assembler(), [], 0
    for end in [*(end for end in ends if end < len(events)), len(events)]:
        splits = (
            end < len(events) and events[end - 1].kv.mod_revision == events[end].kv.mod_revision
        )
        fragment = splits or (end < len(events) and data.draw(st.booleans()))
        told += assembler.take(pb.WatchResponse(fragment=fragment, events=events[start:end]))
        start = end
    assert [(revision, len(group)) for revision, group in told] == list(enumerate(sizes, 1))


def test_a_fabric_that_came_from_elsewhere_goes_on_counting() -> None:
    layout = Layout("p", base=-100)
    assert layout.port(7) == 107
    assert layout.etcd(107) == 7
    assert layout.etcd(50) == 1
