"""Runs a module in the box, and asks which layers the box has here."""

import asyncio
import os
import sys
from dataclasses import asdict
from pathlib import Path

import typer

from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.output import complain, print_json, print_rows
from infrafabric_server.chassis.sandbox.cache import NotPrivate
from infrafabric_server.chassis.sandbox.compiled import ModuleRefused
from infrafabric_server.chassis.sandbox.compiler import Compiler
from infrafabric_server.chassis.sandbox.cpu import cpu_share
from infrafabric_server.chassis.sandbox.host import NoCalls
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.outcome import Outcome
from infrafabric_server.chassis.sandbox.probe import probe_layers
from infrafabric_server.chassis.sandbox.start import StartFailed
from infrafabric_server.chassis.sandbox.warm_module import WarmModule


def run(
    module: Path, source: Path | None, limits: Limits, cache: Path | None, *, json_output: bool
) -> None:
    """Run a module and print how it ended.

    Args:
        module: its file.
        source: what it reads; none is nothing, `-` is standard input.
        limits: what it may take.
        cache: where compiled modules are kept; none is the user's own folder.
        json_output: whether to print one JSON document.

    Raises:
        typer.Exit: it was refused, failed, or went beyond a limit.
    """
    code, request = _read(module), b"" if source is None else _read(source)
    try:
        outcome = asyncio.run(_run(code, request, limits, cache or _default_cache()))
    except (ModuleRefused, NotPrivate, StartFailed, ValueError, OSError) as error:
        complain(str(error))
        raise typer.Exit(ExitCode.REFUSED) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if json_output:
        document = asdict(outcome)
        if outcome.result is not None:
            document["result"] = outcome.result.decode(errors="replace")
        print_json(document)
    else:
        _print(outcome)
    if not outcome.succeeded:
        raise typer.Exit(ExitCode.REFUSED)


def doctor(*, json_output: bool) -> None:
    """Print the layers of the box.

    Raises:
        typer.Exit: one of them does not hold.
    """
    try:
        layers = asyncio.run(probe_layers(cpu_share()))
    except StartFailed as error:
        complain(str(error))
        raise typer.Exit(ExitCode.REFUSED) from None
    if json_output:
        print_json([asdict(layer) for layer in layers])
    else:
        states = {True: "held", False: "MISSING"}
        rows = [(layer.name, states[layer.held], layer.detail) for layer in layers]
        print_rows(("layer", "state", "detail"), rows)
    if not all(layer.held for layer in layers):
        raise typer.Exit(ExitCode.REFUSED)


class _Printed(NoCalls):
    """Prints what is logged."""

    async def log(self, text: str) -> None:
        complain(f"log: {text}")


async def _run(code: bytes, request: bytes, limits: Limits, cache: Path) -> Outcome:
    warm = WarmModule(await Compiler(cache).compile(code), limits, cpu_share())
    try:
        return await warm.run(request, _Printed())
    finally:
        await warm.close()


def _print(outcome: Outcome) -> None:
    if outcome.result is not None:
        sys.stdout.buffer.write(outcome.result)
        if sys.stdout.isatty() and not outcome.result.endswith(b"\n"):
            # A shell's prompt would follow in the same line.
            sys.stdout.buffer.write(b"\n")
        sys.stdout.flush()
    for line in outcome.diagnostics.splitlines():
        complain(line)
    if outcome.trap:
        # Where it was comes first, line by line; what it was comes last.
        complain(f"trap: {outcome.trap.strip().splitlines()[-1].strip()}")
    if outcome.exit_code:
        complain(f"exit code {outcome.exit_code}")
    for violation in outcome.violations:
        complain(f"violation of {violation.kind}: {violation.detail}")


def _read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        complain(f"{path}: cannot be read: {error.strerror}")
        raise typer.Exit(ExitCode.USAGE) from None


def _default_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "infrafabric" / "modules"
