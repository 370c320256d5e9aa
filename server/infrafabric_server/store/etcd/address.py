"""Where an etcd cluster is, and who we are to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from infrafabric_server.store.protocol import StoreRefused

_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_DEFAULT_PREFIX = "infrafabric"
# The variable that holds the password, when no file does.
PASSWORD_VARIABLE = "INFRAFABRIC_ETCD_PASSWORD"


@dataclass(frozen=True, slots=True)
class EtcdAddress:
    """The members of a cluster, and the part of its keys that one fabric owns.

    `endpoints` are `host:port` and are tried in turn. Every key of the fabric begins with
    `prefix/`, so several fabrics can live on one cluster. `tls` tells whether the members
    are spoken to over TLS.
    """

    endpoints: tuple[str, ...]
    prefix: str = _DEFAULT_PREFIX
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `etcd://host:port,host:port/prefix` says; `etcds://` is over TLS.

        Raises StoreRefused naming the part that breaks its rule.
        """
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in ("etcd", "etcds"):
            raise StoreRefused(
                "the address of etcd is etcd://HOST:PORT,HOST:PORT/PREFIX, or etcds:// for TLS"
            )
        hosts, _, prefix = rest.partition("/")
        if "@" in hosts:
            raise StoreRefused(
                "the address of etcd holds no user or password, as it is logged: give the user "
                f"as a setting, and the password in a file or in {PASSWORD_VARIABLE}"
            )
        prefix = prefix.removesuffix("/") or _DEFAULT_PREFIX
        if not _PREFIX.fullmatch(prefix):
            raise StoreRefused(
                f"the prefix of etcd keys is 1 to 63 letters, digits and ._-, not {prefix!r}"
            )
        endpoints = tuple(_endpoint(host) for host in hosts.split(","))
        if len(set(endpoints)) < len(endpoints):
            raise StoreRefused(f"an endpoint of etcd is named twice in {hosts}")
        return cls(endpoints, prefix, tls=scheme == "etcds")

    def __str__(self) -> str:
        return f"{'etcds' if self.tls else 'etcd'}://{','.join(self.endpoints)}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class Access:
    """What is shown to the cluster; nothing of it appears in logs or messages.

    `ca` is the PEM of the authority that signed the members' certificates (None: those that
    the machine trusts), `certificate` and `key` are ours for mutual TLS.
    """

    ca: bytes | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str],
        *,
        ca_file: Path | None = None,
        certificate_file: Path | None = None,
        key_file: Path | None = None,
        user: str = "",
        password_file: Path | None = None,
    ) -> Self:
        """Read what the files and the environment hold. Raises StoreRefused naming the file.

        The password is the first line of its file, or else INFRAFABRIC_ETCD_PASSWORD.
        """
        if (certificate_file is None) is not (key_file is None):
            raise StoreRefused("a client certificate for etcd needs its key, and the reverse")
        password = environ.get(PASSWORD_VARIABLE, "")
        if password_file is not None:
            password = _read(password_file).decode().split("\n", 1)[0].removesuffix("\r")
        if user and not password:
            raise StoreRefused(
                f"the etcd user {user} has no password: give it in a file or {PASSWORD_VARIABLE}"
            )
        return cls(
            ca=_read(ca_file) if ca_file else None,
            certificate=_read(certificate_file) if certificate_file else None,
            key=_read(key_file) if key_file else None,
            user=user,
            password=password,
        )


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or set(text) & set("/?#@"):
        raise StoreRefused(f"an endpoint of etcd is HOST:PORT with a port of 1 to 65535: {text!r}")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StoreRefused(f"{file}: cannot be read: {error.strerror}") from error
