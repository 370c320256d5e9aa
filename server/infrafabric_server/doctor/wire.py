"""Looks at a server of etcd or NATS from outside its protocol: certificate, clock, greeting."""

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

# Seconds for an answer.
_TIMEOUT = 5.0
_LONGEST_GREETING = 64 * 1024


def split(endpoint: str) -> tuple[str, int]:
    """Return the host and the port of `HOST:PORT`."""
    host, _, port = endpoint.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def http_date(endpoint: str, context: ssl.SSLContext | None) -> datetime | None:
    """Return the time that a server of HTTP tells, cut to whole seconds; None without one.

    Raises OSError, and HTTPException for an answer that is none.
    """
    host, port = split(endpoint)
    connection = (
        http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=context)
        if context
        else http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    )
    try:
        connection.request("GET", "/version")
        told = connection.getresponse().getheader("Date")
    finally:
        connection.close()
    return parsedate_to_datetime(told) if told else None


def tls_certificate(endpoint: str, context: ssl.SSLContext) -> bytes:
    """Return the certificate that a server shows, in DER. Raises OSError."""
    with socket.create_connection(split(endpoint), _TIMEOUT) as plain:
        return _shown(plain, context, endpoint)


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a NATS server says first; `certificate` is in DER, and empty without TLS."""

    facts: dict[str, Any]
    certificate: bytes = b""


def nats_greeting(endpoint: str, context: ssl.SSLContext | None) -> Greeting:
    """Return what a NATS server says to everybody who connects. Raises OSError, ValueError."""
    with socket.create_connection(split(endpoint), _TIMEOUT) as plain:
        line = b""
        while not line.endswith(b"\n") and len(line) < _LONGEST_GREETING:
            # One by one: what comes behind the line belongs to TLS.
            more = plain.recv(1)
            if not more:
                break
            line += more
        word, _, rest = line.partition(b" ")
        if word != b"INFO":
            raise ValueError("it does not speak the protocol of NATS")
        facts = json.loads(rest)
        certificate = _shown(plain, context, endpoint) if context else b""
        return Greeting(facts, certificate)


def _shown(plain: socket.socket, context: ssl.SSLContext, endpoint: str) -> bytes:
    with context.wrap_socket(plain, server_hostname=split(endpoint)[0]) as secured:
        return secured.getpeercert(binary_form=True) or b""
