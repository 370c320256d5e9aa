"""Reads the text of one setting, or refuses it by name."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAX_PORT = 65_535
_PORT_DIGITS = 5
LEAST_SECONDS = 0.1
MOST_SECONDS = 30 * 86_400
# One level of a NATS subject; it is a part of the name of a stream, too, which has no dots.
_SUBJECT = re.compile(r"[A-Za-z0-9_-]{1,63}")
# A value that is refused is repeated up to this many characters.
_SHOWN = 80

Parser = Callable[[str, object], object]


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


def one_of(*allowed: str) -> Parser:
    """Return what reads a setting that is one of some words."""

    def parse(name: str, value: object) -> str:
        if str(value) not in allowed:
            raise ConfigError(f"{name}: must be one of {', '.join(allowed)}, not {_shown(value)}")
        return str(value)

    return parse


def one_of_numbers(*allowed: int) -> Parser:
    """Return what reads a setting that is one of some whole numbers."""
    texts = one_of(*map(str, allowed))

    def parse(name: str, value: object) -> int:
        return int(str(texts(name, value)))

    return parse


def text(name: str, value: object) -> str:
    """Return a text that is not empty, without control characters."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ConfigError(f"{name}: must be a text without control characters, not {value!r:.80}")
    return value


def subject(name: str, value: object) -> str:
    """Return one level of a NATS subject."""
    if not _SUBJECT.fullmatch(str(value)):
        raise ConfigError(f"{name}: must be 1 to 63 letters, digits, _ or -, not {_shown(value)}")
    return str(value)


def file(name: str, value: object) -> Path:
    """Return the path of a file, which is read later."""
    return _path(name, value, "a file")


def directory(name: str, value: object) -> Path:
    """Return the path of a directory, which need not exist."""
    return _path(name, value, "a directory")


def seconds(name: str, value: object) -> float:
    """Return a number of seconds."""
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not LEAST_SECONDS <= number <= MOST_SECONDS:
        raise ConfigError(
            f"{name}: must be a number of seconds, {LEAST_SECONDS} to {MOST_SECONDS}, "
            f"not {_shown(value)}"
        )
    return number


def address(name: str, value: object) -> Address:
    """Return where to listen, on this machine alone."""
    host, colon, port = str(value).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    # Its length first: Python refuses to read a number of thousands of digits.
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS else -1
    if not colon or not 0 <= number <= MAX_PORT:
        raise ConfigError(
            f"{name}: must be HOST:PORT with a port of 0 to 65535, not {_shown(value)}"
        )
    if not is_loopback(host):
        raise ConfigError(
            f"{name}: {host} is not a loopback address; without TLS and authentication the "
            "server listens only at 127.0.0.1, ::1 or localhost"
        )
    return Address(host, number)


def _path(name: str, value: object, kind: str) -> Path:
    written = str(value) if isinstance(value, str | Path) else ""
    # An empty one is a variable that was not set, not the directory of whoever starts it.
    if not written or "\0" in written:
        raise ConfigError(f"{name}: must be the path of {kind}, not {value!r}")
    try:
        return Path(written).expanduser()
    except RuntimeError:
        raise ConfigError(f"{name}: {written} begins with the home of an unknown user") from None


def _shown(value: object) -> str:
    return str(value)[:_SHOWN]


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by what it is called alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
