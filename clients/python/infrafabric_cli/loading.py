"""`infrafabric chassis load|unload|list|execute|violations`: modules of swarms, at a server."""

import re
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.duration_pb2 import Duration

from infrafabric import Client
from infrafabric.v1.chassis_contract_pb2 import (
    LoadedSwarm,
    ModuleKind,
    ResourceLimits,
    ServiceContract,
    SLODefinition,
)
from infrafabric.v1.chassis_credential_pb2 import CredentialEndpoint
from infrafabric.v1.chassis_execution_pb2 import Violation, ViolationKind
from infrafabric.values import from_struct
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.files import content
from infrafabric_cli.layout import Column, number, text
from infrafabric_cli.names import moment, short
from infrafabric_cli.options import (
    DEFAULT_SERVER,
    JSON_METAVAR,
    Json,
    Server,
    endpoint,
    json_object,
)
from infrafabric_cli.output import as_json, complain, json_text, print_json, print_rows, say
from infrafabric_cli.running import must_exist, run

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LOADED = (
    *map(Column, ("swarm", "module", "kind")),
    *map(number, ("memory", "time")),
    *(text("version"), Column("loaded")),
)
_VIOLATIONS = (
    *map(Column, ("time", "kind")),
    *map(number, ("limit", "observed")),
    *(Column("task"), text("detail")),
)
_NONE_LOADED = "no modules; load one: infrafabric chassis load SWARM MODULE"

Swarm = Annotated[str, typer.Argument(metavar="SWARM", help="Id of the swarm.")]
_MODULE = typer.Argument(
    metavar="MODULE", help="A .wasm or .wat file, or the SHA-256 of a stored one."
)
MEMORY_MB = typer.Option(min=1, max=4096, metavar="MIB", help="Memory that a run may have, in MiB.")
CPU_PERCENT = typer.Option(min=1, max=100, metavar="PERCENT", help="Share of one core, in percent.")
SECONDS = typer.Option(min=0.01, max=3600, metavar="SECONDS", help="Time that a run may take.")
CALLS_PER_SECOND = typer.Option(min=1, max=10_000, metavar="N", help="Host calls in each second.")


def _target(text: str) -> float:
    # Nothing always succeeds: a promise of 1 would leave no budget for errors.
    rule = "must be a share above 0 and below 1, such as 0.99"
    try:
        share = float(text)
    except ValueError as error:
        raise typer.BadParameter(rule) from error
    if not 0 < share < 1:
        raise typer.BadParameter(rule)
    return share


_OUTPUT_BYTES = typer.Option(
    min=1, max=262_144, metavar="BYTES", help="The most that it may write."
)
_ALLOW = typer.Option(
    "--allow", metavar="CALL", help="Host call that is granted, such as kv; repeat it."
)
_HTTP = typer.Option(
    "--http",
    parser=endpoint,
    metavar='"METHOD,... URL"',
    help="Where the call http may go, which it allows; repeat it.",
)
_P99_SECONDS = typer.Option(
    min=0.000001, metavar="SECONDS", help="Promised: 99 of 100 tasks end within it."
)
_SUCCESS_RATE = typer.Option(
    parser=_target,
    metavar="SHARE",
    help="Promised share of tasks that succeed, above 0 and below 1, such as 0.99.",
)
_AVAILABILITY = typer.Option(
    parser=_target,
    metavar="SHARE",
    help="Promised share of time with a session, above 0 and below 1, such as 0.95.",
)


def load(  # noqa: PLR0913  # each option is a parameter
    swarm: Swarm,
    module: Annotated[str, _MODULE],
    *,
    memory_mb: Annotated[int | None, MEMORY_MB] = None,
    cpu_percent: Annotated[int | None, CPU_PERCENT] = None,
    seconds: Annotated[float | None, SECONDS] = None,
    output_bytes: Annotated[int | None, _OUTPUT_BYTES] = None,
    calls_per_second: Annotated[int | None, CALLS_PER_SECOND] = None,
    allow: Annotated[list[str] | None, _ALLOW] = None,
    http: Annotated[list[CredentialEndpoint] | None, _HTTP] = None,
    p99_seconds: Annotated[float | None, _P99_SECONDS] = None,
    success_rate: Annotated[float | None, _SUCCESS_RATE] = None,
    availability: Annotated[float | None, _AVAILABILITY] = None,
    version: Annotated[
        str, typer.Option(metavar="TEXT", help="Version of the contract, for people.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Give a swarm a module, which is compiled first, and a contract.

    What is not given is the server's default; `chassis list --json` shows all of it.
    """
    code: bytes | str = module if _DIGEST.fullmatch(module) else content(Path(module))
    contract = ServiceContract(
        limits=ResourceLimits(
            max_memory_mb=memory_mb,
            max_cpu_percent=cpu_percent,
            max_api_calls_per_second=calls_per_second,
            max_execution_time=_duration(seconds),
            max_output_bytes=output_bytes,
        ),
        slo=SLODefinition(
            p99_latency=_duration(p99_seconds),
            success_rate=success_rate,
            availability=availability,
        ),
        allowed_calls=[*(allow or ()), *(["http"] if http else ())],
        endpoints=http or (),
        version=version,
    )

    async def command(client: Client) -> None:
        loaded = await client.chassis.load(swarm, code, contract)
        if json_output:
            print_json(as_json(loaded))
        else:
            kind = short(ModuleKind.DESCRIPTOR, loaded.kind)
            say(f"{loaded.swarm_id}: {kind} {loaded.module_sha256}")

    run(server, command)


def unload(swarm: Swarm, *, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """Take the module from a swarm; what runs already ends by itself."""

    async def command(client: Client) -> None:
        unloaded = await client.chassis.unload(swarm)
        if json_output:
            print_json({"swarm_id": swarm, "unloaded": unloaded})
        else:
            say(f"{swarm}: unloaded" if unloaded else f"{swarm}: had no module")

    run(server, command)


def list_loaded(*, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """List the swarms that are loaded, and with what."""

    async def command(client: Client) -> None:
        found = [each async for each in client.chassis.list()]
        if json_output:
            print_json({"swarms": [as_json(each) for each in found]})
        else:
            print_rows(_LOADED, map(_row, found), _NONE_LOADED)

    run(server, command)


def execute(
    swarm: Swarm,
    task: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Id under which the run is recorded; else made up."),
    ] = "",
    *,
    task_input: Annotated[
        Any,
        typer.Option("--input", parser=json_object, metavar=JSON_METAVAR, help="For the module."),
    ] = None,
    deadline: Annotated[
        float, typer.Option(min=0.01, max=7200, metavar="SECONDS", help="Turn and run together.")
    ] = 60.0,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Run the module of a swarm once, and print its result; Ctrl-C ends the run.

    Exit code 1: it failed, or went beyond a limit.
    """
    name = task or f"run-{secrets.token_hex(8)}"

    async def command(client: Client) -> None:
        ended = await client.chassis.execute(swarm, name, task_input, deadline=deadline)
        if json_output:
            print_json({"task_id": name, **as_json(ended)})
        elif ended.succeeded:
            say(json_text(from_struct(ended.result)))
        else:
            complain(f"{name}: {ended.reason}")
        if not task and ended.succeeded and not json_output:
            complain(f"recorded as {name}")
        if not ended.succeeded:
            raise typer.Exit(ExitCode.REFUSED)

    run(server, command)


def violations(swarm: Swarm, *, server: Server = DEFAULT_SERVER, json_output: Json = False) -> None:
    """List the latest limits that runs of a swarm went beyond, the newest first."""

    async def command(client: Client) -> None:
        found = await client.chassis.violations(swarm)
        if not found.violations:
            await must_exist(client, swarm=swarm)
        if json_output:
            print_json(as_json(found))
        else:
            none = f"no run of {swarm} went beyond a limit"
            print_rows(_VIOLATIONS, map(_violation_row, found.violations), none)

    run(server, command)


def _row(loaded: LoadedSwarm) -> tuple[str, ...]:
    limits = loaded.contract.limits
    return (
        loaded.swarm_id,
        loaded.module_sha256,
        short(ModuleKind.DESCRIPTOR, loaded.kind),
        f"{limits.max_memory_mb} MiB",
        f"{limits.max_execution_time.ToTimedelta().total_seconds():g} s",
        loaded.contract.version,
        moment(loaded.load_time),
    )


def _violation_row(violation: Violation) -> tuple[str, ...]:
    return (
        moment(violation.time),
        short(ViolationKind.DESCRIPTOR, violation.kind),
        str(violation.limit) if violation.HasField("limit") else "",
        str(violation.observed) if violation.HasField("observed") else "",
        violation.task_id,
        violation.detail,
    )


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
