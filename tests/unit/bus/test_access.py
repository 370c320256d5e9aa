"""What is shown to NATS: where it comes from, and how a file that is of no use is told."""

import subprocess
from functools import partial
from pathlib import Path

import nkeys
import pytest

from infrafabric_server.bus.address import PASSWORD_VARIABLE, BusRefusedError, NatsAccess
from tests.harness.certificates import make_certificates

_SEED = nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_USER).decode()
_CREDENTIALS = (
    "-----BEGIN NATS USER JWT-----\na.token\n------END NATS USER JWT------\n"
    f"-----BEGIN USER NKEY SEED-----\n{_SEED}\n------END USER NKEY SEED------\n"
)


def test_the_password_is_in_a_file_or_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from the file\r\nmore\n")
    environ = {PASSWORD_VARIABLE: "from the environment"}
    assert NatsAccess.load(environ, user="me").password == "from the environment"
    access = NatsAccess.load(environ, user="me", password_file=file)
    assert access.password == "from the file"
    assert access.password not in repr(access)
    assert NatsAccess.load(environ) == NatsAccess()


def test_a_user_needs_a_password() -> None:
    with pytest.raises(BusRefusedError, match=f"the NATS user me has no .*{PASSWORD_VARIABLE}"):
        NatsAccess.load({}, user="me")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_credentials_are_taken_as_they_are(tmp_path: Path, end: str) -> None:
    file = tmp_path / "me.creds"
    file.write_text(_CREDENTIALS, newline=end)
    assert NatsAccess.load({}, credentials_file=file).credentials == _CREDENTIALS


@pytest.mark.parametrize(
    "text",
    [
        "",
        _SEED,
        _CREDENTIALS.split("-----BEGIN USER", maxsplit=1)[0],
        _CREDENTIALS[_CREDENTIALS.index("-----BEGIN USER") :],
        _CREDENTIALS.replace(_SEED, ""),
        _CREDENTIALS.replace(_SEED, "SUAGARBAGE"),
        _CREDENTIALS.replace(_SEED, "é" * 58),
        _CREDENTIALS.replace(_SEED, _SEED.lower()),
    ],
)
def test_a_file_that_holds_no_credentials_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "me.creds"
    file.write_text(text)
    with pytest.raises(BusRefusedError, match=r"me\.creds") as refused:
        NatsAccess.load({}, credentials_file=file)
    assert _SEED not in str(refused.value)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for load in (
        partial(NatsAccess.load, password_file=gone),
        partial(NatsAccess.load, credentials_file=gone),
        partial(NatsAccess.load, ca_file=gone),
        partial(NatsAccess.load, certificate_file=gone),
    ):
        with pytest.raises(BusRefusedError, match=str(gone)):
            load({}, tls=True)


def test_certificates_that_are_of_no_use_are_named(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    for key in ("ca.key", "server.key"):
        with pytest.raises(BusRefusedError, match=key):
            NatsAccess.load(
                {}, tls=True, certificate_file=tmp_path / "client.pem", key_file=tmp_path / key
            )


def test_a_key_that_needs_a_password_is_refused_rather_than_asked_for(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    subprocess.run(
        [
            "openssl",
            "pkey",
            "-in",
            "client.key",
            "-aes256",
            "-passout",
            "pass:hidden",
            "-out",
            "locked.key",
        ],
        cwd=tmp_path,
        check=True,
    )
    with pytest.raises(BusRefusedError, match="must not be encrypted"):
        NatsAccess.load(
            {},
            tls=True,
            certificate_file=tmp_path / "client.pem",
            key_file=tmp_path / "locked.key",
        )
