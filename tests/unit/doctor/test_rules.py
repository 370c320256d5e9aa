"""What the doctor makes of what it sees."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.bus.address import NatsAccess
from infrafabric_server.clock import SystemClock
from infrafabric_server.doctor import clocks, etcd_rules, folder, latency, nats, policy, versions
from infrafabric_server.doctor.findings import Finding, Level, Subject, worst
from infrafabric_server.store.etcd.upkeep import begun
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.sqlite import SqliteStore
from infrafabric_server.witness.durability import Durability

SUBJECT = Subject("it")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
_GIB = 1024**3


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("3.3.27", Level.PROBLEM),
        ("3.4.21", Level.NOTE),
        ("3.4.35", Level.NOTE),
        ("3.4.36", Level.OK),
        ("3.5.0", Level.PROBLEM),
        ("3.5.1", Level.PROBLEM),
        ("3.5.2", Level.PROBLEM),
        ("3.5.3", Level.NOTE),
        ("3.5.5", Level.NOTE),
        ("3.5.19", Level.NOTE),
        ("3.5.20", Level.OK),
        ("3.6.0-rc.1", Level.OK),
        ("4.0.0", Level.OK),
        ("", Level.NOTE),
        ("newest", Level.NOTE),
    ],
)
def test_versions_of_etcd(version: str, level: Level) -> None:
    finding = versions.etcd_version(SUBJECT, version)
    assert finding.level is level
    assert version in finding.text
    assert bool(finding.advice) is (level is not Level.OK)


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("2.9.25", Level.PROBLEM),
        ("2.10.20", Level.PROBLEM),
        ("2.10.23", Level.OK),
        ("2.15.1", Level.OK),
        ("?", Level.NOTE),
    ],
)
def test_versions_of_nats(version: str, level: Level) -> None:
    assert versions.nats_version(SUBJECT, version).level is level


@given(
    offset=st.timedeltas(timedelta(days=-2), timedelta(days=2)),
    there=st.timedeltas(timedelta(0), timedelta(seconds=5)),
    back=st.timedeltas(timedelta(0), timedelta(seconds=5)),
    whole=st.booleans(),
)
def test_a_clock_is_never_called_more_wrong_than_it_is(
    offset: timedelta, there: timedelta, back: timedelta, whole: bool
) -> None:
    told = NOW + there + offset
    resolution = timedelta(seconds=1) if whole else timedelta(0)
    if whole:
        told = told.replace(microsecond=0)
    skew = clocks.least_skew(NOW, told, NOW + there + back, resolution)
    assert abs(skew) <= abs(offset)
    assert skew * offset.total_seconds() >= timedelta(0)
    # What is not known is the way of the question and of the answer, and the part of a second.
    assert abs(offset) - abs(skew) <= there + back + resolution


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(0, Level.OK), (-0.9, Level.OK), (1.5, Level.NOTE), (-9, Level.NOTE), (-11, Level.PROBLEM)],
)
def test_a_wrong_clock(seconds: float, level: Level) -> None:
    assert clocks.judged(SUBJECT, timedelta(seconds=seconds), "well").level is level


@pytest.mark.parametrize(
    ("times", "level"),
    [
        ([0.001] * 5, Level.OK),
        ([0.001, 0.001, 9.0], Level.OK),
        ([0.02], Level.NOTE),
        ([0.2], Level.PROBLEM),
    ],
)
def test_latencies_are_judged_by_their_median(times: list[float], level: Level) -> None:
    finding = latency.judged(SUBJECT, "writes", times, latency.Limits(0.01, 0.1), "faster")
    assert finding.level is level
    assert f"slowest of {len(times)} {max(times) * 1e3:.1f} ms" in finding.text


def test_a_member_without_a_leader() -> None:
    header = pb.ResponseHeader(member_id=7)
    leading = etcd_rules.leader(SUBJECT, pb.StatusResponse(header=header, leader=7))
    following = etcd_rules.leader(SUBJECT, pb.StatusResponse(header=header, leader=8))
    lost = etcd_rules.leader(SUBJECT, pb.StatusResponse(header=header))
    learner = etcd_rules.leader(SUBJECT, pb.StatusResponse(header=header, leader=8, isLearner=True))
    assert (leading.text, following.text) == ("it leads", "it follows a leader")
    assert (lost.level, learner.level) == (Level.PROBLEM, Level.PROBLEM)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (begun(0), Level.OK),
        (b'{"format": "restoring"}', Level.PROBLEM),
        (b'{"format": 99}', Level.PROBLEM),
        (b'{"format": 1, "data_format": 3, "revision": 0}', Level.PROBLEM),
        (b"another's", Level.PROBLEM),
        (None, Level.OK),
    ],
)
def test_what_is_under_the_prefix(value: bytes | None, level: Level) -> None:
    found = pb.RangeResponse()
    if value is not None:
        found.kvs.add(key=b"one/own/origin", value=value, mod_revision=7)
    assert etcd_rules.fabric(SUBJECT, "one", found).level is level


@pytest.mark.parametrize(
    ("size", "used", "quota", "level"),
    [
        (1, 1, 0, Level.OK),
        (_GIB, _GIB, 0, Level.OK),
        (2 * _GIB, _GIB, 0, Level.PROBLEM),
        (2 * _GIB, 2 * _GIB, 8 * _GIB, Level.OK),
        (_GIB, _GIB // 4, 8 * _GIB, Level.NOTE),
    ],
)
def test_a_quota(size: int, used: int, quota: int, level: Level) -> None:
    status = pb.StatusResponse(dbSize=size, dbSizeInUse=used, dbSizeQuota=quota)
    assert etcd_rules.room(SUBJECT, status).level is level


@pytest.mark.parametrize(
    ("jetstream", "always", "level"),
    [(True, True, Level.OK), (True, False, Level.PROBLEM), (False, False, Level.PROBLEM)],
)
def test_whether_jetstream_syncs(jetstream: bool, always: bool, level: Level) -> None:
    told = Durability(
        version="2.15.1", jetstream=jetstream, always=always, interval=120, max_payload=1024
    )
    assert nats.durable(SUBJECT, told).level is level


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        ({"error": {"code": 404}}, Level.OK),
        ({"config": {"num_replicas": 3, "storage": "file"}}, Level.OK),
        ({"config": {"num_replicas": 1, "storage": "file"}}, Level.PROBLEM),
        ({"config": {"num_replicas": 3, "storage": "memory"}}, Level.PROBLEM),
    ],
)
def test_the_stream_of_the_witness_log(answer: dict[str, object], level: Level) -> None:
    look = nats.Look("nats://a:1", NatsAccess(), "one-witness", 3, (), SystemClock())
    finding = nats.witness_stream(SUBJECT, look, answer)
    assert finding.level is level
    assert "one-witness" in finding.text


def test_a_message_that_is_too_small() -> None:
    assert nats.payload(SUBJECT, 1024 * 1024).level is Level.OK
    assert nats.payload(SUBJECT, 64 * 1024).level is Level.PROBLEM


def _by_check(found: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in found}


def test_a_data_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    found = _by_check(folder.examine(tmp_path))
    assert set(found) == {"space", "permissions", "sync"}
    assert found["permissions"].level is Level.OK
    tmp_path.chmod(0o755)
    assert _by_check(folder.examine(tmp_path))["permissions"].level is Level.NOTE
    tmp_path.chmod(0o777)
    assert _by_check(folder.examine(tmp_path))["permissions"].level is Level.PROBLEM
    assert list(tmp_path.iterdir()) == []
    [nowhere] = folder.examine(Path("/proc/infrafabric/data"))
    assert (nowhere.level, nowhere.check) == (Level.PROBLEM, "writable")
    assert nowhere.text == "/proc is on a file system that keeps no files"
    assert nowhere.advice == "choose a directory on a local disk"
    missing = _by_check(folder.examine(tmp_path / "a" / "b"))
    assert "will be made" in missing["permissions"].text
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    assert worst(folder.examine(tmp_path / "file")) is Level.PROBLEM


def test_g8_a_policy_that_a_server_would_not_take(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    (missing,) = policy.examine(file)
    assert (missing.level, "cannot be read" in missing.text) == (Level.PROBLEM, True)
    file.write_text("budgets:\n  soft_share: 2\n")
    (bad,) = policy.examine(file)
    assert (bad.level, f"{file}:2: budgets.soft_share" in bad.text) == (Level.PROBLEM, True)
    file.write_text("budgets: {soft_share: 0.5}\n")
    (good,) = policy.examine(file)
    assert (good.level, "0 cases, hash " in good.text) == (Level.OK, True)


def _changes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}


async def test_the_fabric_of_a_data_directory_is_looked_at_without_a_trace(tmp_path: Path) -> None:
    assert "none yet" in folder.fabric(tmp_path / "new").text
    store = await SqliteStore.open(tmp_path)
    running = folder.fabric(tmp_path)
    await store.close()
    before = _changes(tmp_path)
    stopped = folder.fabric(tmp_path)
    assert _changes(tmp_path) == before
    for found in (running, stopped):
        assert (found.level, found.text) == (
            Level.OK,
            "there is one, with records of format 2 or older",
        )
    (tmp_path / "fabric.db").write_text("something else")
    assert folder.fabric(tmp_path).level is Level.PROBLEM


@pytest.mark.parametrize(
    ("free", "level"), [(5 * _GIB, Level.OK), (_GIB, Level.NOTE), (_GIB // 8, Level.PROBLEM)]
)
def test_a_disk_that_fills(free: int, level: Level) -> None:
    assert folder.space(SUBJECT, free).level is level


def test_the_worst_finding_counts() -> None:
    assert worst([]) is Level.OK
    assert worst([SUBJECT.problem("a", "", ""), SUBJECT.ok("b", "")]) is Level.PROBLEM
    assert worst([SUBJECT.note("a", "", ""), SUBJECT.ok("b", "")]) is Level.NOTE
