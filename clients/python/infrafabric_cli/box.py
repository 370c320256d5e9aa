"""Runs a module in the box, and asks which layers the box has here."""

import asyncio
import os
import sys
from dataclasses import asdict
from pathlib import Path

import typer

from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.files import content
from infrafabric_cli.layout import Column, text
from infrafabric_cli.output import as_json, complain, print_json, print_rows
from infrafabric_server.chassis.runs import execution_of
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
from infrafabric_server.chassis.service.wire import execution_to_wire
from infrafabric_server.clock import SystemClock


def run(
    module: Path, task_input: str, limits: Limits, cache: Path | None, *, json_output: bool
) -> None:
    """Run a module and print how it ended.

    Args:
        module: its file.
        task_input: the JSON text that it reads.
        limits: what it may take.
        cache: where compiled modules are kept; none is the user's own folder.
        json_output: whether to print one JSON document.

    Raises:
        typer.Exit: it was refused, failed, or went beyond a limit.
    """
    code = content(module)
    try:
        outcome = asyncio.run(_run(code, task_input.encode(), limits, cache or _default_cache()))
    except (ModuleRefused, NotPrivate, StartFailed, ValueError, OSError) as error:
        complain(str(error))
        raise typer.Exit(ExitCode.REFUSED) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    execution = execution_of(outcome, "", SystemClock().now())
    if json_output:
        # What `chassis execute` prints of a run, and what only who tries a module wants to see.
        print_json(
            {
                **as_json(execution_to_wire(execution)),
                "exit_code": outcome.exit_code,
                "trap": outcome.trap,
                "diagnostics": outcome.diagnostics,
                "output": (outcome.result or b"").decode(errors="replace"),
            }
        )
    else:
        _print(outcome)
        if outcome.succeeded and not execution.succeeded:
            complain(execution.reason)
    if not execution.succeeded:
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
        print_json({"layers": [asdict(layer) for layer in layers]})
    else:
        states = {True: "held", False: "MISSING"}
        rows = [(layer.name, states[layer.held], layer.detail) for layer in layers]
        print_rows((Column("layer"), Column("state"), text("detail")), rows)
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


def _default_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "infrafabric" / "modules"
