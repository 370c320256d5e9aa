"""Checks the chain of the witness log, over the API or in a data folder."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from infrafabric import Client
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.output import complain
from infrafabric_cli.running import run
from infrafabric_server.store.protocol import StoreRefused
from infrafabric_server.witness.chain import Verification, Verifier, verify
from infrafabric_server.witness.sqlite_open import read_log


def of_server(server: str) -> Verification:
    """Check what a server shows, page by page; it is not trusted with the checking."""
    verifier = Verifier()

    async def command(client: Client) -> None:
        async for entry in client.witness.query():
            if verifier.check(entry):
                return

    run(server, command)
    return verifier.result


def of_folder(data: Path) -> Verification:
    """Check the log of a data folder; a server may be using it."""
    try:
        return verify(read_log(data))
    except StoreRefused as error:
        complain(str(error))
        raise typer.Exit(
            ExitCode.TAMPERED if _is_damage(error.__cause__) else ExitCode.REFUSED
        ) from None


def _is_damage(cause: BaseException | None) -> bool:
    # A file that is not there, is not ours to read or is locked proves nothing about the log.
    out_of_reach = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PERM)
    code = getattr(cause, "sqlite_errorcode", None)
    return code is not None and code & 0xFF not in out_of_reach


def as_json(result: Verification) -> dict[str, Any]:
    """Return a result for machines."""
    broken = result.broken
    return {
        "verified": broken is None,
        "sequence": result.sequence,
        "hash": result.hash,
        "first_bad": broken.sequence if broken else None,
        "reason": broken.reason if broken else None,
    }


def lines(result: Verification) -> Iterator[str]:
    """Return a result for people."""
    if result.broken is None:
        yield f"verified: {result.sequence} entries, the last one with the hash {result.hash}"
        return
    yield f"entry {result.broken.sequence} is bad: {result.broken.reason}"
    yield f"good up to entry {result.sequence}, which has the hash {result.hash}"
