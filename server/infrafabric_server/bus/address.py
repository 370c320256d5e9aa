"""Where a NATS cluster is, and who we are to it."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import nkeys

# The variable that holds the password, when no file does.
PASSWORD_VARIABLE = "INFRAFABRIC_NATS_PASSWORD"


class BusRefusedError(Exception):
    """What is needed to reach the bus cannot be had; the message names the file or setting."""


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """What is shown to the cluster; nothing of it appears in logs or messages.

    `tls` is set for an address of TLS; `credentials` is the text of a file of credentials: a
    token and its key.
    """

    tls: ssl.SSLContext | None = field(default=None, repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    credentials: str = field(default="", repr=False)

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str],
        *,
        tls: bool = False,
        ca_file: Path | None = None,
        certificate_file: Path | None = None,
        key_file: Path | None = None,
        user: str = "",
        password_file: Path | None = None,
        credentials_file: Path | None = None,
    ) -> Self:
        """Read what the files and the environment hold. Raises BusRefusedError naming the file.

        The password is the first line of its file, or else INFRAFABRIC_NATS_PASSWORD.
        """
        password = environ.get(PASSWORD_VARIABLE, "")
        if password_file is not None:
            password = _read(password_file).split("\n", 1)[0].removesuffix("\r")
        if user and not password:
            raise BusRefusedError(
                f"the NATS user {user} has no password: give it in a file or {PASSWORD_VARIABLE}"
            )
        credentials = _credentials(credentials_file) if credentials_file is not None else ""
        context = _context(ca_file, certificate_file, key_file) if tls else None
        return cls(context, user, password if user else "", credentials)


def _credentials(file: Path) -> str:
    # nats-py would look for the token for ever, and a bad key would be found out at NATS only.
    text = _read(file)
    seed = re.search(r"BEGIN USER NKEY SEED-+\r?\n(\S+)\r?\n", text)
    if seed is None or not re.search(r"BEGIN NATS USER JWT-+\r?\n\S+\r?\n", text):
        raise BusRefusedError(
            f"{file}: is no file of NATS credentials, as it lacks a NATS USER JWT or a "
            "USER NKEY SEED"
        )
    try:
        nkeys.from_seed(seed[1].encode())
    except (nkeys.NkeysError, ValueError) as error:
        raise BusRefusedError(f"{file}: its USER NKEY SEED is no key of NATS") from error
    return text


def _context(
    ca_file: Path | None, certificate_file: Path | None, key_file: Path | None
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if certificate_file is not None:
            context.load_cert_chain(certificate_file, key_file, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        files = ", ".join(str(each) for each in (ca_file, certificate_file, key_file) if each)
        raise BusRefusedError(f"the certificates for NATS ({files}): {error}") from error
    return context


def _no_password() -> str:
    # Without this, OpenSSL would ask for one at the terminal.
    raise ValueError("the key must not be encrypted")


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BusRefusedError(f"{file}: cannot be read: {error}") from error
