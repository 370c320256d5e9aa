"""The end of a certificate's time, read from certificates that openssl makes."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.doctor import certificates
from infrafabric_server.doctor.findings import Level, Subject

SUBJECT = Subject("settings")


def made(folder: Path, *extra: str) -> Path:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=it", *extra),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem"


def end_of(file: Path) -> datetime:
    told = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-in", file], check=True, capture_output=True
    )
    text = told.stdout.decode().strip().removeprefix("notAfter=").removesuffix(" GMT")
    return datetime.strptime(text, "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)


# From 2050 on, certificates write years with four digits.
@pytest.mark.parametrize("days", ["1", "400", "15000"])
def test_the_end_is_what_openssl_says(tmp_path: Path, days: str) -> None:
    file = made(tmp_path, "-days", days)
    der = ssl.PEM_cert_to_DER_cert(file.read_text())
    assert certificates.expiry(der) == end_of(file)


def test_a_file_is_judged_by_the_first_to_end(tmp_path: Path) -> None:
    late = made(tmp_path, "-days", "400").read_text()
    soon = made(tmp_path, "-days", "40")
    end = end_of(soon)
    soon.write_text(late + soon.read_text())

    def level(before_the_end: timedelta) -> Level:
        (finding,) = certificates.of_file(SUBJECT, "etcd_ca", soon, end - before_the_end)
        return finding.level

    assert level(timedelta(days=31)) is Level.OK
    assert level(timedelta(days=29)) is Level.NOTE
    assert level(timedelta(0)) is Level.PROBLEM


def test_a_file_without_certificates_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "bad").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for name in ("empty", "bad", "missing"):
        (finding,) = certificates.of_file(
            SUBJECT, "etcd_ca", tmp_path / name, datetime(2026, 1, 1, tzinfo=UTC)
        )
        assert finding.level is Level.PROBLEM


@given(st.binary(max_size=64))
def test_what_is_no_certificate_has_no_end(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        certificates.expiry(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = made(tmp_path_factory.mktemp("whole"), "-days", "2")
    return ssl.PEM_cert_to_DER_cert(file.read_text())


@given(data=st.data())
def test_a_certificate_cut_anywhere_is_refused(whole: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"."):
        certificates.expiry(whole[:cut])
