"""What the server can be told: flags, environment and a TOML file, read once.

A flag goes before the environment (`INFRAFABRIC_<NAME>`), and that before the file.
"""

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

MAX_PORT = 65_535
_PORT_DIGITS = 5
LEAST_SECONDS = 0.1
MOST_SECONDS = 30 * 86_400


class ConfigError(Exception):
    """A setting breaks its rule; the message names the setting and the rule."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen at; port 0 picks a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one server.

    `lease_seconds` is how long a session may be silent, `claim_ttl_seconds` how long a claim
    made outside a session lives, `ack_seconds` how long an assignment may be unconfirmed,
    `escalate_seconds` after how long a blocker is brought before the orchestrator again.
    """

    grpc: Address = Address("127.0.0.1", 50051)
    http: Address = Address("127.0.0.1", 8765)
    data: Path = Path("infrafabric-data")
    store: str = "sqlite"
    bus: str = "local"
    lease_seconds: float = 15.0
    claim_ttl_seconds: float = 300.0
    ack_seconds: float = 5.0
    escalate_seconds: float = 1800.0
    drain_seconds: float = 10.0
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
        return cls(**{name: _parsed(name, value) for name, value in found.items()})  # type: ignore[arg-type]  # _parsed gives each name its type


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


def _parsed(name: str, value: object) -> object:
    if name in ("grpc", "http"):
        return _address(name, str(value))
    if name == "data":
        return _directory(name, value)
    if name.endswith("_seconds"):
        return _seconds(name, value)
    allowed = {
        "store": ("sqlite",),
        "bus": ("local",),
        "log_level": ("debug", "info", "warning", "error"),
    }[name]
    if str(value) not in allowed:
        raise ConfigError(f"{name}: must be one of {', '.join(allowed)}, not {value}")
    return str(value)


def _directory(name: str, value: object) -> Path:
    text = str(value) if isinstance(value, str | Path) else ""
    # An empty one is a variable that was not set, not the directory of whoever starts it.
    if not text or "\0" in text:
        raise ConfigError(f"{name}: must be the path of a directory, not {value!r}")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{name}: {text} begins with the home of an unknown user") from None


def _seconds(name: str, value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = -1.0
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise ConfigError(
            f"{name}: must be a number of seconds, {LEAST_SECONDS} to {MOST_SECONDS}, not {value}"
        )
    return seconds


def _address(name: str, text: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    # Its length first: Python refuses to read a number of thousands of digits.
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS else -1
    if not colon or not 0 <= number <= MAX_PORT:
        raise ConfigError(f"{name}: must be HOST:PORT with a port of 0 to 65535, not {text[:80]}")
    if not _is_loopback(host):
        raise ConfigError(
            f"{name}: {host} is not a loopback address; without TLS and authentication the "
            "server listens only at 127.0.0.1, ::1 or localhost"
        )
    return Address(host, number)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
