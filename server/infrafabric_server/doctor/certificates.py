"""Until when certificates are valid."""

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infrafabric_server.doctor.findings import Finding, Subject

_SOON = timedelta(days=30)
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# Tags of DER.
_SEQUENCE = 0x30
_VERSION = 0xA0
_UTC_TIME = 0x17
_LONG = 0x80
# Of two digits of a year, those from here on are of the last century (RFC 5280).
_CENTURY = 50


def expiry(der: bytes) -> datetime:
    """Return the end of a certificate's time. Raises ValueError for what is none."""
    try:
        return _expiry(der)
    except StopIteration as error:
        raise ValueError("not a certificate") from error


def _expiry(der: bytes) -> datetime:
    _, certificate = next(_parts(der))
    _, content = next(_parts(certificate))
    parts = _parts(content)
    tag, _ = next(parts)
    # Before the validity: a version (newer certificates have one), a number, how it was signed,
    # and by whom.
    for _ in range(3 if tag == _VERSION else 2):
        next(parts)
    tag, validity = next(parts)
    if tag != _SEQUENCE:
        raise ValueError("not a certificate")
    _, (tag, end) = _parts(validity)
    text = end.decode("ascii").removesuffix("Z")
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= _CENTURY else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def of_file(subject: Subject, name: str, file: Path, now: datetime) -> list[Finding]:
    """Judge the certificates in a PEM file; `name` is the setting that names it."""
    try:
        found = [ssl.PEM_cert_to_DER_cert(each) for each in _PEM.findall(file.read_text())]
        ends = [expiry(each) for each in found]
    except (OSError, ValueError) as error:
        return [subject.problem(name, f"{file} cannot be read: {error}", "give a PEM file")]
    if not ends:
        return [subject.problem(name, f"{file} holds no certificate", "give a PEM file")]
    return [judged(subject, name, min(ends), now)]


def judged(subject: Subject, name: str, end: datetime, now: datetime) -> Finding:
    """Judge the end of a certificate's time."""
    day = end.strftime("%Y-%m-%d")
    if end <= now:
        return subject.problem(name, f"expired on {day}", "issue a new certificate")
    if end - now <= _SOON:
        return subject.note(name, f"expires on {day}", "issue a new certificate before that")
    return subject.ok(name, f"valid until {day}")


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each element in DER. Raises ValueError."""
    place = 0
    while place < len(data):
        if len(data) < place + 2:
            raise ValueError("not a certificate")
        tag, length = data[place], data[place + 1]
        place += 2
        if length & _LONG:
            digits = length - _LONG
            length = int.from_bytes(data[place : place + digits], "big")
            place += digits
        if place + length > len(data):
            raise ValueError("not a certificate")
        yield tag, data[place : place + length]
        place += length
