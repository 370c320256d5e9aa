"""The settings of a fabric of several replicas: where etcd and NATS are, and what goes together."""

import re
from collections.abc import Collection

from infrafabric_server.config.values import ConfigError
from infrafabric_server.store.etcd.address import EtcdAddress
from infrafabric_server.store.protocol import StoreRefused

SQLITE = "sqlite"
ETCD_TLS = "etcds://"
LOCAL = "local"
NATS_TLS = "tls://"

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_MAX_PORT = 65_535


def store(name: str, value: object) -> str:
    """Return where truth is kept: `sqlite`, or the address of etcd."""
    written = str(value)
    if written == SQLITE:
        return SQLITE
    if not written.startswith(("etcd://", ETCD_TLS)):
        raise ConfigError(
            f"{name}: must be sqlite, etcd://HOST:PORT,HOST:PORT/PREFIX, or etcds:// for TLS, "
            f"not {_shown(written)}"
        )
    try:
        EtcdAddress.parse(written)
    except StoreRefused as error:
        raise ConfigError(f"{name}: {error}") from error
    return written


def bus(name: str, value: object) -> str:
    """Return how news travels: `local`, or the address of NATS."""
    written = str(value)
    if written == LOCAL:
        return LOCAL
    scheme, _, rest = written.partition("://")
    if scheme not in ("nats", "tls"):
        raise ConfigError(
            f"{name}: must be local, nats://HOST:PORT,HOST:PORT, or tls:// for TLS, "
            f"not {_shown(written)}"
        )
    if "@" in rest:
        raise ConfigError(
            f"{name}: the address holds no user or password, as it is logged: give nats_user and "
            "nats_password_file, or nats_credentials"
        )
    hosts = rest.removesuffix("/").split(",")
    for host in hosts:
        found = _HOST.fullmatch(host)
        if found is None or not 1 <= int(found[2]) <= _MAX_PORT:
            raise ConfigError(
                f"{name}: a server is HOST:PORT with a port of 1 to 65535, not {_shown(host)!r}"
            )
    if len(set(hosts)) < len(hosts):
        raise ConfigError(f"{name}: a server is named twice in {_shown(rest)}")
    return written


def check(store: str, bus: str, given: Collection[str]) -> None:
    """Check what only several settings together can break.

    Args:
        store: that setting, as it was read.
        bus: likewise.
        given: the names of all settings that were given.

    Raises:
        ConfigError: it names the settings and the rule.
    """
    shared = store != SQLITE
    if shared is (bus == LOCAL):
        raise ConfigError(
            "store, bus: a fabric on etcd needs NATS, and the reverse: give both "
            "--store etcd://HOST:PORT and --bus nats://HOST:PORT, or neither"
        )
    for name in sorted(given):
        if name.startswith(("etcd_", "nats_", "witness_")) and not shared:
            raise ConfigError(
                f"{name}: means something for several replicas only; give store and bus, too"
            )
    for service, tls in (("etcd", store.startswith(ETCD_TLS)), ("nats", bus.startswith(NATS_TLS))):
        _check_access(service, given, tls=tls)
    if {"nats_user", "nats_credentials"} <= set(given):
        raise ConfigError("nats_user, nats_credentials: give one of the two")
    if shared and "nats_subject" not in given and "." in EtcdAddress.parse(store).prefix:
        raise ConfigError(
            "nats_subject: must be given, as the prefix of the keys in etcd has a dot, which "
            "separates the levels of a subject"
        )


def _check_access(service: str, given: Collection[str], *, tls: bool) -> None:
    names = [f"{service}_{name}" for name in ("ca", "cert", "key")]
    used = [name for name in names if name in given]
    if used and not tls:
        scheme = ETCD_TLS if service == "etcd" else NATS_TLS
        raise ConfigError(f"{used[0]}: certificates need an address that begins with {scheme}")
    _, certificate, key = names
    if (certificate in given) is not (key in given):
        raise ConfigError(f"{certificate}, {key}: give both or neither")
    if f"{service}_password_file" in given and f"{service}_user" not in given:
        raise ConfigError(f"{service}_password_file: needs {service}_user")


def _shown(text: str) -> str:
    # What stands where a password would is not repeated.
    return re.sub(r"//[^/@]*@", "//…@", text)[:80]
