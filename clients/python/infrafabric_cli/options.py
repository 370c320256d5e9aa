"""Options that many commands share, and what their text means."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from google.protobuf.descriptor import EnumDescriptor

from infrafabric.money import parse_usd
from infrafabric.v1.chassis_credential_pb2 import CredentialEndpoint
from infrafabric_cli.names import value_of

DEFAULT_SERVER = "127.0.0.1:50051"


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


def json_object(text: str) -> dict[str, Any]:
    """Return the object that a JSON text describes."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"must be a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter('must be a JSON object, such as {"pages": 3}')
    return value
