"""Options that many commands share, and what their text means."""

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.descriptor import EnumDescriptor

from infrafabric.money import parse_usd
from infrafabric.v1.chassis_credential_pb2 import CredentialEndpoint
from infrafabric_cli.names import value_of

DEFAULT_SERVER = "127.0.0.1:50051"

# How the help of options explains a time.
TIMES = "in ISO 8601, UTC unless it has a zone: 2026-01-31T12:00:00Z"

# How options that take a JSON object are shown: the text itself, a file, or standard input.
JSON_METAVAR = "JSON|@FILE|-"


def _addresses(text: str) -> str:
    if "://" in text or not re.fullmatch(r"[^\s,]+:[^\s,]+(,[^\s,]+:[^\s,]+)*", text):
        raise typer.BadParameter(
            f"must be HOST:PORT, such as {DEFAULT_SERVER}, or several separated by commas"
        )
    return text


Server = Annotated[
    str,
    typer.Option(
        "--server",
        parser=_addresses,
        envvar="INFRAFABRIC_SERVER",
        metavar="HOST:PORT,...",
        help="The fabric's gRPC port; of several servers, one that answers is used.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON: one document, or one line for each event.")
]
Swarm = Annotated[
    str,
    typer.Option("--swarm", envvar="INFRAFABRIC_SWARM", metavar="ID", help="The acting swarm."),
]
Attempt = Annotated[
    int, typer.Option("--attempt", min=1, metavar="N", help="Attempt of the claim, as it was won.")
]


def usd(text: str) -> int:
    """Return micro-US-dollars; for the `parser` of an option."""
    try:
        return parse_usd(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def one_of(enum: EnumDescriptor) -> Callable[[str], int]:
    """Return what makes the value of an enum of its short name; for the `parser` of an option."""

    def value(text: str) -> int:
        try:
            return value_of(enum, text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return value


def endpoint(text: str) -> CredentialEndpoint:
    """Return where requests may go, from `METHOD,... URL`."""
    methods, _, url = text.partition(" ")
    if not url:
        raise typer.BadParameter('must be "METHOD,... URL", such as "GET https://example.org/v1/"')
    return CredentialEndpoint(url=url.strip(), methods=methods.split(","))


def instant(text: str) -> datetime:
    """Return a time in UTC from ISO 8601; a text without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return zoned.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter("must be a time such as 2026-01-31T12:00:00Z") from error


def json_given(text: str) -> str:
    """Return the text of a JSON object: the given one, that of `@FILE`, or for `-` of our input."""
    given = _read(text)
    try:
        value = json.loads(given)
    except (ValueError, RecursionError) as error:
        if given == text and _is_file(text):
            raise typer.BadParameter(f"must be a JSON object; @{text} reads that file") from error
        raise typer.BadParameter(f"must be a JSON object, @FILE or -: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter('must be a JSON object, such as {"pages": 3}, or @FILE, or -')
    return given


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object that an option gives, in each of the ways of `json_given`."""
    value: dict[str, Any] = json.loads(json_given(text))
    return value


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:
        # Too long for a name.
        return False


def _read(text: str) -> str:
    if text != "-" and not text.startswith("@"):
        return text
    try:
        given = sys.stdin.buffer.read() if text == "-" else Path(text[1:]).read_bytes()
        return given.decode()
    except OSError as error:
        raise typer.BadParameter(f"{text[1:]} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"must be UTF-8: {error.reason}") from error
