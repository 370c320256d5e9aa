"""Certificates of an authority that is made for a test."""

import subprocess
from pathlib import Path

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make_certificates(folder: Path) -> None:
    """Make `ca.pem`, and `server` and `client`, each `.pem` and `.key`, in `folder`.

    The server is 127.0.0.1 and server.example.org.
    """
    _openssl(
        folder, "req", "-x509", *_NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem",
        "-subj", "/CN=test-ca", "-days", "2",
    )  # fmt: skip
    _certificate(folder, "server", "subjectAltName=IP:127.0.0.1,DNS:server.example.org\n")
    _certificate(folder, "client", "extendedKeyUsage=clientAuth\n")


def _certificate(folder: Path, name: str, extra: str) -> None:
    _openssl(
        folder, "req", *_NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr",
        "-subj", f"/CN={name}",
    )  # fmt: skip
    (folder / f"{name}.ext").write_text(extra)
    _openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-CAcreateserial", "-days", "2", "-out", f"{name}.pem", "-extfile", f"{name}.ext",
    )  # fmt: skip


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
