"""The doctor looks at real servers of etcd and NATS, in good health and in bad."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from mmap import PAGESIZE
from pathlib import Path

import pytest

from infrafabric_server.clock import SystemClock
from infrafabric_server.config import Settings
from infrafabric_server.doctor.examine import examine
from infrafabric_server.doctor.findings import Finding, Level
from infrafabric_server.store.etcd.address import EtcdAddress
from tests.harness.certificates import make_certificates
from tests.harness.etcd import Etcd
from tests.harness.nats import Nats

COMMAND = Path(sys.executable).parent / "infrafabric"
# Exactly what the doctor tells to set.
ENOUGH = ("--max-txn-ops=8400", "--max-request-bytes=8388608")
_NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    folder = tmp_path_factory.mktemp("etcd")
    with Etcd(folder, members=3, arguments=ENOUGH, large=False) as etcd:
        yield etcd


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    with Nats(tmp_path) as nats:
        yield nats


def loaded(store: EtcdAddress | str, bus: str, data: Path, **flags: object) -> Settings:
    return Settings.load({"store": str(store), "bus": bus, "data": data, **flags}, {})


async def looked(
    settings: Settings, environ: Mapping[str, str] | None = None, *monitors: str
) -> dict[tuple[str, str], Finding]:
    """Return the findings by the first word of their subject, and what was checked."""
    found = await examine(settings, environ or {}, SystemClock(), monitors)
    return {(finding.subject.split()[0], finding.check): finding for finding in found}


def bad(found: Mapping[tuple[str, str], Finding]) -> set[tuple[str, str]]:
    return {key for key, finding in found.items() if finding.level is Level.PROBLEM}


async def test_good_servers_have_no_problem_but_the_version_of_the_tests(
    tmp_path: Path, etcd: Etcd, nats: Nats
) -> None:
    found = await looked(loaded(etcd.address(), nats.address, tmp_path), None, nats.monitor)
    assert bad(found) == {("etcd", "version")}
    assert "3.5.1 can lose data" in found["etcd", "version"].text
    for check in ("leader", "quota", "max-txn-ops", "max-request-bytes", "clock", "members"):
        assert found["etcd", check].level is Level.OK
    for check in ("alarms", "reads", "writes", "fabric"):
        assert ("etcd", check) in found
    for check in ("version", "max_payload", "clock", "jetstream", "witness", "sync_interval"):
        assert any(key[0] == "nats" and key[1].startswith(check) for key in found)
    # Nothing was begun.
    assert "none yet" in found["etcd", "fabric"].text


async def test_a_member_that_is_down_is_named_and_the_others_are_checked(
    tmp_path: Path, etcd: Etcd, nats: Nats
) -> None:
    gone = etcd.members[0]
    gone.kill()
    try:
        settings = loaded(etcd.address(), nats.address, tmp_path)
        found = await examine(settings, {}, SystemClock(), [])
    finally:
        gone.start()
        etcd.wait()
    problems = {finding.subject for finding in found if finding.check == "reachable"}
    assert problems == {f"etcd {gone.endpoint}"}
    assert {finding.check for finding in found} >= {"members", "writes"}


async def test_members_that_are_not_named(tmp_path: Path, etcd: Etcd, nats: Nats) -> None:
    one = EtcdAddress((etcd.members[0].endpoint,))
    found = await looked(loaded(one, nats.address, tmp_path))
    assert found["etcd", "endpoints"].level is Level.NOTE
    assert etcd.members[2].endpoint in found["etcd", "endpoints"].advice
    assert found["nats", "sync_interval"].level is Level.NOTE


async def test_limits_that_are_a_little_too_small(tmp_path: Path, nats: Nats) -> None:
    small = ("--max-txn-ops=8399", "--max-request-bytes=8380000")
    with Etcd(tmp_path, arguments=small, large=False) as etcd:
        found = await looked(loaded(etcd.address(), nats.address, tmp_path))
    assert bad(found) >= {("etcd", "max-txn-ops"), ("etcd", "max-request-bytes")}
    assert "--max-txn-ops=8400" in found["etcd", "max-txn-ops"].advice
    assert found["etcd", "members"].level is Level.NOTE


def fill(etcd: Etcd) -> None:
    """Write until etcd refuses to; it takes a value for 256 bytes larger than it is."""
    for number in itertools.count():
        etcd.put(f"other/{number}", "x" * (PAGESIZE - 512))


async def test_a_full_quota(tmp_path: Path, nats: Nats) -> None:
    # etcd has a whole number of pages: where it refuses what fits into one, it is over its quota.
    with Etcd(tmp_path, arguments=[f"--quota-backend-bytes={40 * PAGESIZE - 1}"]) as etcd:
        with pytest.raises(subprocess.CalledProcessError):
            fill(etcd)
        found = await looked(loaded(etcd.address(), nats.address, tmp_path))
    assert "NOSPACE" in found["etcd", "alarms"].text
    assert "quota" in found["etcd", "cluster"].text
    assert found["etcd", "max-txn-ops"].level is Level.NOTE


async def test_a_small_quota_is_not_exceeded_by_looking(tmp_path: Path, nats: Nats) -> None:
    with Etcd(tmp_path, arguments=["--quota-backend-bytes=4000000"]) as etcd:
        found = await looked(loaded(etcd.address(), nats.address, tmp_path))
        assert etcd.control("alarm", "list") == ""
    assert bad(found) == {("etcd", "version")}


async def test_tls_on_both(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    files = {
        f"{service}_{name}": tmp_path / file
        for service in ("etcd", "nats")
        for name, file in (("ca", "ca.pem"), ("cert", "client.pem"), ("key", "client.key"))
    }
    arguments = [
        *ENOUGH,
        f"--cert-file={tmp_path / 'server.pem'}",
        f"--key-file={tmp_path / 'server.key'}",
        f"--trusted-ca-file={tmp_path / 'ca.pem'}",
        "--client-cert-auth",
    ]
    tls = (
        f'tls {{ cert_file: "{tmp_path / "server.pem"}", key_file: "{tmp_path / "server.key"}",'
        f' ca_file: "{tmp_path / "ca.pem"}", verify: true }}'
    )
    with (
        Etcd(tmp_path, arguments=arguments, large=False, tls=True) as etcd,
        Nats(tmp_path, settings=[tls]) as nats,
    ):
        bus = nats.address.replace("nats://", "tls://")
        found = await looked(loaded(etcd.address(), bus, tmp_path, **files))
        poor = {"etcd_ca": files["etcd_ca"], "nats_ca": files["nats_ca"]}
        refused = await looked(loaded(etcd.address(), bus, tmp_path, **poor))
    assert bad(found) == {("etcd", "version")}
    # Those of the tests are valid for two days.
    assert found["etcd", "certificate"].level is Level.NOTE
    assert found["nats", "certificate"].level is Level.NOTE
    assert found["settings", "etcd_cert"].level is Level.NOTE
    assert found["etcd", "clock"].level is Level.OK
    assert ("etcd", "reachable") in bad(refused)
    assert ("nats", "login") in bad(refused)


async def test_a_user_of_nats_without_jetstream_or_with_a_wrong_password(
    tmp_path: Path, etcd: Etcd
) -> None:
    accounts = "accounts { A: { users: [ { user: ann, password: pw } ] } }"
    with Nats(tmp_path, settings=[accounts]) as nats:
        settings = loaded(etcd.address(), nats.address, tmp_path, nats_user="ann")
        found = await looked(settings, {"INFRAFABRIC_NATS_PASSWORD": "pw"})
        wrong = await looked(settings, {"INFRAFABRIC_NATS_PASSWORD": "hunter2"})
        none = await looked(settings)
    assert ("nats", "jetstream") in bad(found)
    assert ("nats", "login") in bad(wrong)
    assert "hunter2" not in str(wrong)
    assert "has no password" in none["nats", "access"].text


async def test_servers_that_are_not_there(tmp_path: Path) -> None:
    found = await looked(loaded(f"etcd://{_NOBODY}/x", f"nats://{_NOBODY}", tmp_path))
    assert bad(found) == {
        ("etcd", "reachable"),
        ("etcd", "cluster"),
        ("nats", "reachable"),
        ("nats", "jetstream"),
    }


async def test_a_nats_that_loses_what_it_acknowledged(tmp_path: Path, etcd: Etcd) -> None:
    with Nats(tmp_path, durable=False) as nats:
        settings = loaded(etcd.address(), nats.address, tmp_path)
        found = await looked(settings, None, nats.monitor)
        assert "120 s: a power cut loses" in found["nats", "sync_interval"].text
        wrong = await looked(settings, None, f"http://{_NOBODY}")
        assert ("nats", "sync_interval") in bad(wrong)


def _doctor(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [COMMAND, "doctor", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_command_fits_80_columns_and_tells_by_its_exit_code(
    tmp_path: Path, etcd: Etcd, nats: Nats
) -> None:
    places = ("--store", str(etcd.address()), "--bus", nats.address, "--data", str(tmp_path))
    told = _doctor(*places, "--nats-monitor", nats.monitor)
    assert told.returncode == 1, told.stderr
    assert not told.stderr
    lines = told.stdout.splitlines()
    # A subject may be as long as the path of a folder.
    assert max(len(line) for line in lines if line.startswith(" ")) <= 80
    assert lines[-1].endswith(" notes")
    document = json.loads(_doctor(*places, "--json").stdout)
    assert document["level"] == "problem"
    assert {"subject", "check", "level", "text", "advice"} == set(document["findings"][0])


def test_an_embedded_server_needs_its_folder_only(tmp_path: Path) -> None:
    told = _doctor("--data", str(tmp_path / "data"), "--json")
    found = json.loads(told.stdout)
    checks = {finding["check"] for finding in found["findings"]}
    assert checks == {"space", "permissions", "sync", "fabric"}
    assert told.returncode == (1 if found["level"] == "problem" else 0)
    wrong = _doctor("--nats-monitor", "localhost")
    assert (wrong.returncode, wrong.stdout) == (2, "")
