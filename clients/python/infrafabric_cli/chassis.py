"""`infrafabric chassis`: the box for foreign WebAssembly, here without a server, and at one."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from infrafabric_cli import loading
from infrafabric_cli.loading import CALLS_PER_SECOND, CPU_PERCENT, MEMORY_MB, SECONDS
from infrafabric_cli.options import JSON_METAVAR, Json, json_given

app = typer.Typer(no_args_is_help=True)
app.command("load")(loading.load)
app.command("unload")(loading.unload)
app.command("list")(loading.list_loaded)
app.command("execute")(loading.execute)
app.command("violations")(loading.violations)


@app.command()
def run(
    module: Annotated[Path, typer.Argument(metavar="MODULE", help="A .wasm or .wat file.")],
    task_input: Annotated[
        Any,
        typer.Option(
            "--input", parser=json_given, metavar=JSON_METAVAR, help="What the module reads."
        ),
    ] = "{}",
    memory_mb: Annotated[int, MEMORY_MB] = 64,
    cpu_percent: Annotated[int, CPU_PERCENT] = 100,
    seconds: Annotated[float, SECONDS] = 10.0,
    output_bytes: Annotated[
        int,
        typer.Option(min=1, max=64 << 20, metavar="BYTES", help="The most that it may write."),
    ] = 65_536,
    calls_per_second: Annotated[int, CALLS_PER_SECOND] = 100,
    clock: Annotated[bool, typer.Option("--clock", help="Let the module see time pass.")] = False,
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where compiled modules are kept.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Run a module in the box, as a swarm's module runs, and print its result.

    The result, which is one JSON object, goes to standard output as the module
    wrote it; log lines, diagnostics and why there is no result go to standard
    error. No host call but `ifc.log` is granted. Exit code 1: the module was
    refused, failed, or went beyond a limit.
    """
    # No other command loads the sandbox.
    from infrafabric_cli import box
    from infrafabric_server.chassis.sandbox.limits import Limits

    limits = Limits(
        max_memory_mb=memory_mb,
        max_cpu_percent=cpu_percent,
        max_execution_time=timedelta(seconds=seconds),
        max_output_bytes=output_bytes,
        max_api_calls_per_second=calls_per_second,
        clock=clock,
    )
    box.run(module, task_input, limits, cache, json_output=json_output)


@app.command()
def doctor(json_output: Json = False) -> None:
    """Print which layers of the box this machine has.

    It starts a worker and asks it. A policy can demand layers by these names;
    exit code 1: one of them does not hold.
    """
    from infrafabric_cli import box

    box.doctor(json_output=json_output)
