"""Addresses of HTTP requests, read so strictly that everybody understands them in the same way."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

# As much as servers take (RFC 9110 asks for 8,000 octets, many give up sooner).
MAX_URL = 2_048
_MAX_HOST = 253
_MAX_PORT = 65_535

_PORTS = {"http": 80, "https": 443}
_PART = r"[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2}"
_URL = re.compile(
    r"(?P<scheme>[A-Za-z]+)://"
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.\-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    rf"(?P<path>/(?:{_PART})*)?"
    rf"(?:\?(?P<query>(?:{_PART}|\?)*))?"
)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?")
# What a server may take for a number, and so for an address in disguise: 127.1, 0x7f000001.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """What a request goes to; `host` is in lower case, an address in its shortest form."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @property
    def authority(self) -> str:
        """The host as it stands in an address, with the port unless the scheme implies it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address."""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.authority}{self.path}{query}"


def read(url: str) -> Target:
    """Return what a URL names.

    Args:
        url: absolute, `http` or `https`, without user, password and fragment.

    Raises:
        ValueError: it is none, or could be understood in more than one way; says the rule.
    """
    match = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    scheme = match["scheme"].lower() if match else ""
    if match is None or scheme not in _PORTS:
        raise ValueError(
            f"must be http://HOST[:PORT]/PATH or https://..., of at most {MAX_URL} characters,"
            " without user, password and fragment, and with all but ASCII percent-encoded"
        )
    port = int(match["port"]) if match["port"] else _PORTS[scheme]
    if not 1 <= port <= _MAX_PORT:
        raise ValueError("must have a port from 1 to 65535")
    path = match["path"] or "/"
    if not all(map(_plain, path.split("/"))):
        raise ValueError("must have a path without . and .. and without encoded / \\ and %")
    host = _address(match["six"]) if match["six"] else _name(match["name"].lower())
    return Target(scheme, host, port, path, match["query"] or "")


def literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host of a Target is, None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _plain(segment: str) -> bool:
    """Tell whether a segment of a path means the same to whoever decodes it, and how often."""
    decoded = unquote(segment)
    # Some servers cut off what follows a semicolon before they resolve dots.
    return decoded.partition(";")[0] not in (".", "..") and not set("/\\%\0") & set(decoded)


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError("must have an IPv6 address between its brackets") from None


def _name(host: str) -> str:
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError("must write an IPv4 address as four decimal numbers") from None
    if len(host) > _MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("must have a host name of letters, digits, dots and hyphens")
    return host
