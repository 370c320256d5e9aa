"""Patterns of hosts: a name, an address, or all names below a domain."""

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Annotated

from pydantic import BeforeValidator

_MAX_HOST = 253
_LABEL = r"[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?"
# A last part that is a number makes an address of it, in whatever form it is written.
_NAME = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*(?!(?:[0-9]+|0x[0-9a-f]*)$){_LABEL}")


def _pattern(value: object) -> str:
    """Return a pattern in the form in which hosts are compared with it."""
    text = value.lower() if isinstance(value, str) and len(value) <= _MAX_HOST else ""
    with suppress(ValueError):
        return str(ip_address(text))
    if _NAME.fullmatch(text) is None:
        raise ValueError("must be a host such as api.example.org, *.example.org or 192.0.2.7")
    return text


HostPattern = Annotated[str, BeforeValidator(_pattern)]


def matches(host: str, patterns: Iterable[str]) -> bool:
    """Tell whether a host is one of some patterns.

    Args:
        host: a name in lower case, or an address in its shortest form.
        patterns: `*.example.org` is every name that ends with `.example.org`.
    """
    return any(host == each or (each[:2] == "*." and host.endswith(each[1:])) for each in patterns)
