"""The secret of a credential: `ifcred_<id>_<43 characters of chance><6 of checksum>`.

The prefix lets scanners find tokens that have leaked, and the checksum tells them from
look-alikes without asking anybody: ifcred_[0-9a-f]{16}_[0-9A-Za-z]{49}.
"""

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
# 43 characters of 62 have 256 bits: nobody guesses them, so that a plain hash is enough.
_CHANCE = 43
_CHECKSUM = 6
_TOKEN = re.compile(r"(ifcred_([0-9a-f]{16})_[0-9A-Za-z]{43})([0-9A-Za-z]{6})")


@dataclass(frozen=True, slots=True)
class Token:
    """A credential's id and the text that its holder shows; the text is kept nowhere."""

    credential_id: str
    text: str = field(repr=False)


def new_token() -> Token:
    """Return a token that nobody has seen."""
    credential_id = secrets.token_hex(8)
    chance = "".join(secrets.choice(_ALPHABET) for _ in range(_CHANCE))
    body = f"ifcred_{credential_id}_{chance}"
    return Token(credential_id, body + checksum(body))


def credential_id(text: str) -> str | None:
    """Return the id in a token, None for a text that is none or was damaged."""
    match = _TOKEN.fullmatch(text)
    return match[2] if match is not None and checksum(match[1]) == match[3] else None


def digest(text: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def checksum(body: str) -> str:
    """Return the end of a token whose beginning is `body`."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
