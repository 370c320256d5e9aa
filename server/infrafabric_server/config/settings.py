"""What the server can be told: flags, environment and a TOML file, read once.

A flag goes before the environment (`INFRAFABRIC_<NAME>`), and that before the file. Passwords
are no settings: they come from files or from variables of their own, and are never shown.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from infrafabric_server.bus.address import NatsAccess
from infrafabric_server.config import replicated, values
from infrafabric_server.config import webhooks as hooks
from infrafabric_server.config.values import Address, ConfigError
from infrafabric_server.governor.escalation.webhook import Webhook
from infrafabric_server.store.etcd.address import Access, EtcdAddress

_GRPC = Address("127.0.0.1", 50051)
_HTTP = Address("127.0.0.1", 8765)

_PARSERS: Final[Mapping[str, values.Parser]] = {
    "grpc": values.address,
    "http": values.address,
    "data": values.directory,
    "store": replicated.store,
    "bus": replicated.bus,
    "etcd_ca": values.file,
    "etcd_cert": values.file,
    "etcd_key": values.file,
    "etcd_user": values.text,
    "etcd_password_file": values.file,
    "nats_ca": values.file,
    "nats_cert": values.file,
    "nats_key": values.file,
    "nats_user": values.text,
    "nats_password_file": values.file,
    "nats_credentials": values.file,
    "nats_subject": values.subject,
    "witness_replicas": values.one_of_numbers(1, 3, 5),
    "lease_seconds": values.seconds,
    "claim_ttl_seconds": values.seconds,
    "ack_seconds": values.seconds,
    "escalate_seconds": values.seconds,
    "drain_seconds": values.seconds,
    "policy": values.file,
    "webhook": hooks.webhooks,
    "log_level": values.one_of("debug", "info", "warning", "error"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one server.

    `store` is `sqlite`, or where etcd is; `bus` is `local`, or where NATS is: both are of one
    machine, or neither. `data` holds the store and the witness log, with etcd the copy of the
    log alone. The `etcd_` and `nats_` settings say what is shown to those; `nats_subject` is
    what every subject of this fabric begins with (empty: the prefix of its keys in etcd), and
    `witness_replicas` how many NATS servers keep a copy of the witness log.

    `lease_seconds` is how long a session may be silent, `claim_ttl_seconds` how long a claim
    made outside a session lives, `ack_seconds` how long an assignment may be unconfirmed,
    `escalate_seconds` after how long a blocker is brought before the orchestrator again.
    `policy` is the file of what may change while the server runs, `webhook` says who is told of
    escalations.
    """

    grpc: Address = _GRPC
    http: Address = _HTTP
    data: Path = Path("infrafabric-data")
    store: str = "sqlite"
    bus: str = "local"
    etcd_ca: Path | None = None
    etcd_cert: Path | None = None
    etcd_key: Path | None = None
    etcd_user: str = ""
    etcd_password_file: Path | None = None
    nats_ca: Path | None = None
    nats_cert: Path | None = None
    nats_key: Path | None = None
    nats_user: str = ""
    nats_password_file: Path | None = None
    nats_credentials: Path | None = None
    nats_subject: str = ""
    witness_replicas: int = 1
    lease_seconds: float = 15.0
    claim_ttl_seconds: float = 300.0
    ack_seconds: float = 5.0
    escalate_seconds: float = 1800.0
    drain_seconds: float = 10.0
    policy: Path | None = None
    webhook: tuple[Webhook, ...] = ()
    log_level: str = "info"

    @classmethod
    def load(
        cls,
        flags: Mapping[str, object],
        environ: Mapping[str, str],
        file: Path | None = None,
    ) -> "Settings":
        """Return the settings that flags, environment and file add up to.

        `flags` holds only what was given. Raises ConfigError naming the setting, where it
        came from and its rule; an unknown name in the file is refused too.
        """
        found: dict[str, object] = {}
        names = [field.name for field in fields(cls)]
        if file is not None:
            found |= _from_file(file, names)
        for name in names:
            variable = f"INFRAFABRIC_{name.upper()}"
            if variable in environ:
                found[name] = environ[variable]
        found |= {name: value for name, value in flags.items() if value is not None}
        # _PARSERS gives each name its type.
        parsed: dict[str, Any] = {name: _PARSERS[name](name, found[name]) for name in found}
        settings = cls(**parsed)
        replicated.check(settings.store, settings.bus, parsed)
        return settings

    @property
    def shared(self) -> bool:
        """Whether the fabric is on etcd and NATS, for several replicas."""
        return self.store != replicated.SQLITE

    @property
    def subject(self) -> str:
        """What every subject of the fabric on NATS begins with, and its streams are named by."""
        return self.nats_subject or self.etcd_address().prefix

    def etcd_address(self) -> EtcdAddress:
        """Return where etcd is. Raises StoreRefused for a store that is not on etcd."""
        return EtcdAddress.parse(self.store)

    def etcd_access(self, environ: Mapping[str, str]) -> Access:
        """Return what is shown to etcd. Raises StoreRefused naming a file that cannot be read.

        The password is that of the file, or else INFRAFABRIC_ETCD_PASSWORD in `environ`.
        """
        return Access.load(
            environ,
            ca_file=self.etcd_ca,
            certificate_file=self.etcd_cert,
            key_file=self.etcd_key,
            user=self.etcd_user,
            password_file=self.etcd_password_file,
        )

    def nats_access(self, environ: Mapping[str, str]) -> NatsAccess:
        """Return what is shown to NATS. Raises BusRefusedError naming a file that is of no use.

        The password is that of the file, or else INFRAFABRIC_NATS_PASSWORD in `environ`.
        """
        return NatsAccess.load(
            environ,
            tls=self.bus.startswith(replicated.NATS_TLS),
            ca_file=self.nats_ca,
            certificate_file=self.nats_cert,
            key_file=self.nats_key,
            user=self.nats_user,
            password_file=self.nats_password_file,
            credentials_file=self.nats_credentials,
        )

    def webhooks(self, environ: Mapping[str, str]) -> tuple[Webhook, ...]:
        """Return the webhooks with their secrets. Raises ConfigError naming one that is missing."""
        return hooks.signing(self.webhook, environ)


def _from_file(file: Path, names: list[str]) -> dict[str, object]:
    try:
        table = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error
    for name in table:
        if name not in names:
            raise ConfigError(f"{file}: unknown setting {name}; known are {', '.join(names)}")
    return dict(table)
