"""The chassis over the wire: modules are loaded, run and stopped, whoever goes away meanwhile."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import pytest

from infrafabric import Client, errors
from infrafabric.v1.breaker_pb2 import BREAKER_CAUSE_FAILURES
from infrafabric.v1.chassis_contract_pb2 import (
    MODULE_KIND_CORE,
    MODULE_KIND_WASI_COMMAND,
    ResourceLimits,
    ServiceContract,
    SLODefinition,
)
from infrafabric.v1.chassis_execution_pb2 import (
    VIOLATION_KIND_API_DENIED,
    VIOLATION_KIND_EXECUTION_TIME,
    VIOLATION_KIND_OUTPUT,
)
from infrafabric.v1.entry_pb2 import Entry
from infrafabric.v1.task_pb2 import (
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    RetryPolicy,
    Task,
    TaskState,
)
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from infrafabric.values import from_struct, to_struct
from infrafabric_cli.exit_codes import ExitCode
from tests.harness.server import ServerProcess
from tests.integration.commands import Cli, document
from tests.integration.guests import OBEDIENT, REPORTING, workers


def contract(
    *calls: str, seconds: float = 30.0, limits: ResourceLimits | None = None
) -> ServiceContract:
    made = ServiceContract(limits=limits, allowed_calls=calls, version="1")
    made.limits.max_execution_time.FromMilliseconds(round(seconds * 1_000))
    return made


async def loaded(client: Client, swarm_id: str, wanted: ServiceContract | None = None) -> None:
    await client.swarms.register(swarm_id, ["wasm"])
    await client.chassis.load(swarm_id, OBEDIENT, wanted or contract())


async def reaches(
    client: Client, task_id: str, holds: Callable[[Task], bool], seconds: float = 20.0
) -> Task:
    """Return a task as soon as `holds` is true of it."""
    async with asyncio.timeout(seconds):
        async for event in client.tasks.watch():
            for task in (event.snapshot, event.changed):
                if task.task_id == task_id and holds(task):
                    return task
    raise AssertionError("the watch ended")


def state(*wanted: TaskState.ValueType) -> Callable[[Task], bool]:
    return lambda task: task.state in wanted


def under(attempt: int) -> Callable[[Task], bool]:
    return lambda task: task.attempt == attempt


async def entries(client: Client, operation: str, swarm_id: str = "") -> list[Entry]:
    """Return what the witness log has, once it has any of it."""
    filters = QueryEntriesRequest(component="chassis", operation=operation, swarm_id=swarm_id)
    async with asyncio.timeout(10):
        while True:
            found = [entry async for entry in client.witness.query(filters)]
            if found:
                return found


async def starts(server: ServerProcess, before: Collection[int] = ()) -> int:
    """Return a worker of a server that there was not before, once there is one."""
    async with asyncio.timeout(10):
        while True:
            found = workers(server.pid).difference(before)
            if found:
                return found.pop()
            await asyncio.sleep(0.01)


async def ends(process: int) -> None:
    """Return when a process has ended."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(5):
            await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


@pytest.fixture
async def calls(shared_server: ServerProcess) -> AsyncIterator[Client]:
    """Return a client of the server that the tests share, each with ids of its own."""
    async with Client(shared_server.grpc) as it:
        yield it


def test_x1_u3_a_person_loads_runs_and_unloads_a_module(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "obedient.wat"
    file.write_bytes(OBEDIENT)
    cli("swarm", "register", "p1")
    told = document(
        cli("chassis", "load", "p1", str(file), "--seconds", "0.2", "--version", "7", "--json")
    )
    assert told["contract"]["limits"]["max_memory_mb"] == 64
    again = cli("chassis", "load", "p1", told["module_sha256"], "--seconds", "0.2")
    assert again.stdout == f"p1: wasi_command {told['module_sha256']}\n"
    assert document(cli("chassis", "execute", "p1", "r1", "--input", '{"do":"echo"}')) == {
        "do": "echo"
    }
    unnamed = cli("chassis", "execute", "p1", "--input", '{"do":"echo"}')
    assert document(unnamed) == {"do": "echo"}
    name = unnamed.stderr.removeprefix("recorded as ").strip()
    entries = document(cli("witness", "query", "--task", name, "--json"))["entries"]
    assert [each["operation"] for each in entries] == ["task_executed"]
    stopped = cli("chassis", "execute", "p1", "r2", "--input", '{"do":"l"}', code=ExitCode.REFUSED)
    assert stopped.stderr == "r2: execution_time: did not end within 200 ms\n"
    assert "execution_time\t200" in cli("chassis", "violations", "p1").stdout
    assert [row["swarm_id"] for row in document(cli("chassis", "list", "--json"))["swarms"]] == [
        "p1"
    ]
    assert cli("chassis", "unload", "p1").stdout == "p1: unloaded\n"
    gone = cli("chassis", "execute", "p1", "r3", code=ExitCode.REFUSED)
    assert gone.stderr.startswith("swarm not loaded: swarm p1 has no module")


async def test_x1_a_run_answers_with_its_result_and_usage_and_is_on_record(calls: Client) -> None:
    await loaded(calls, "r")
    given = {"do": "echo", "deep": [1, {"a": None}], "text": "ü"}
    ended = await calls.chassis.execute("r", "run-1", given)
    assert ended.succeeded
    assert from_struct(ended.result) == given
    assert ended.usage.output_bytes > 20
    assert ended.usage.peak_memory_bytes > 1_000_000
    assert ended.usage.wall_time.ToMilliseconds() < 5_000
    (entry,) = await entries(calls, "task_executed", "r")
    assert (entry.task_id, from_struct(entry.details)["succeeded"]) == ("run-1", True)
    (entry,) = await entries(calls, "swarm_loaded", "r")
    assert from_struct(entry.details)["contract"]["limits"]["max_cpu_percent"] == 100


@pytest.mark.parametrize(
    ("do", "reason"),
    [("x", "exit code 3"), ("n", "the output is no JSON")],
    ids=["exit", "no-json"],
)
async def test_x1_a_run_that_fails_is_an_answer(calls: Client, do: str, reason: str) -> None:
    await loaded(calls, f"f-{do}")
    ended = await calls.chassis.execute(f"f-{do}", "run", {"do": do})
    assert (ended.succeeded, len(ended.violations)) == (False, 0)
    assert reason in ended.reason


@pytest.mark.parametrize(
    ("do", "kind"),
    [("l", VIOLATION_KIND_EXECUTION_TIME), ("o", VIOLATION_KIND_OUTPUT)],
    ids=["loop", "output"],
)
async def test_x2_x7_what_goes_beyond_a_limit_is_stopped_recorded_and_replaced(
    calls: Client, do: str, kind: int
) -> None:
    swarm_id = f"h-{do}"
    await loaded(
        calls, swarm_id, contract(seconds=0.5, limits=ResourceLimits(max_output_bytes=100_000))
    )
    ended = await calls.chassis.execute(swarm_id, "bad", {"do": do})
    assert not ended.succeeded
    (violation,) = ended.violations
    assert violation.kind == kind
    assert violation.observed >= violation.limit > 0
    known = await calls.chassis.violations(swarm_id)
    assert ([each.task_id for each in known.violations], known.total) == (["bad"], 1)
    (entry,) = await entries(calls, "limit_violated", swarm_id)
    assert from_struct(entry.details)["limit"] == violation.limit
    assert (await calls.chassis.execute(swarm_id, "good", {"do": "e"})).succeeded


async def test_x3_only_what_the_contract_grants_is_reached(calls: Client) -> None:
    await calls.swarms.register("m", ["wasm"])
    granted = await calls.chassis.load("m", REPORTING, contract("progress"))
    assert granted.kind == MODULE_KIND_CORE
    assert (await calls.chassis.execute("m", "run", {"a": 1})).usage.api_calls == 1
    await calls.chassis.load("m", REPORTING, contract())
    denied = await calls.chassis.execute("m", "run", {"a": 1})
    assert [each.kind for each in denied.violations] == [VIOLATION_KIND_API_DENIED]
    with pytest.raises(errors.InvalidField, match=r"contract\.allowed_calls.*net\.connect"):
        await calls.chassis.load("m", REPORTING, contract("net.connect"))


async def test_x2_x3_limits_are_those_of_the_contract_within_the_policy(calls: Client) -> None:
    await calls.swarms.register("b", ["wasm"])
    with pytest.raises(errors.InvalidField, match=r"limits\.max_memory_mb: must be at most 512"):
        await calls.chassis.load("b", OBEDIENT, contract(limits=ResourceLimits(max_memory_mb=600)))
    with pytest.raises(errors.InvalidField, match=r"max_cpu_percent: must be 1 to 100"):
        await calls.chassis.load(
            "b", OBEDIENT, contract(limits=ResourceLimits(max_cpu_percent=101))
        )
    promised = ServiceContract(slo=SLODefinition(success_rate=1.0))
    with pytest.raises(errors.InvalidField, match=r"success_rate: must be above 0 and below 1"):
        await calls.chassis.load("b", OBEDIENT, promised)
    assert not [each async for each in calls.chassis.list() if each.swarm_id == "b"]


async def test_x1_what_cannot_be_run_is_refused_by_its_reason(calls: Client) -> None:
    with pytest.raises(errors.SwarmNotFound):
        await calls.chassis.load("nobody", OBEDIENT)
    await calls.swarms.register("q", ["wasm"])
    with pytest.raises(errors.ModuleNotFound):
        await calls.chassis.load("q", "0" * 64)
    with pytest.raises(errors.ModuleRefused, match=r"env\.evil"):
        await calls.chassis.load("q", b'(module (import "env" "evil" (func)))')
    with pytest.raises(errors.ModuleRefused, match="invalid"):
        await calls.chassis.load("q", b"\0asm\1\0\0\0 and more")
    with pytest.raises(errors.SwarmNotLoaded):
        await calls.chassis.execute("q", "run")
    refused = [from_struct(entry.details) for entry in await entries(calls, "module_refused", "q")]
    assert "env.evil" in refused[0]["reason"]


async def test_x1_a_large_module_is_uploaded_in_pieces(calls: Client) -> None:
    await calls.swarms.register("u", ["wasm"])
    weight = b'(data (i32.const 1000000) "' + b"w" * 5_000_000 + b'")'
    large = OBEDIENT.replace(b'"memory") 2)', b'"memory") 100)' + weight)
    assert (await calls.chassis.load("u", large)).kind == MODULE_KIND_WASI_COMMAND
    assert (await calls.chassis.execute("u", "run", {"do": "e"})).succeeded


async def test_x1_x7_who_cancels_a_call_or_lets_its_deadline_pass_ends_the_run(
    shared_server: ServerProcess, calls: Client
) -> None:
    await loaded(calls, "c")
    before = workers(shared_server.pid)
    endless = asyncio.create_task(calls.chassis.execute("c", "cancelled", {"do": "l"}))
    worker = await starts(shared_server, before)
    endless.cancel()
    await ends(worker)
    with pytest.raises(errors.Unreachable, match="DEADLINE_EXCEEDED"):
        await calls.chassis.execute("c", "late", {"do": "l"}, deadline=0.5)
    assert (await calls.chassis.execute("c", "next", {"do": "e"})).succeeded
    cut = {entry.task_id for entry in await entries(calls, "execution_cut", "c")}
    assert cut == {"cancelled", "late"}
    assert not (await calls.chassis.violations("c")).violations


async def test_x1_c1_the_fabric_does_a_task_that_names_a_loaded_swarm(calls: Client) -> None:
    await calls.swarms.register("t", ["wasm"])
    task = Task(task_id="t-1", chassis_swarm_id="t", input=to_struct({"do": "echo"}))
    await calls.tasks.create(task)
    await calls.chassis.load("t", REPORTING, contract("progress"))
    done = await reaches(calls, "t-1", state(TASK_STATE_COMPLETED))
    assert (from_struct(done.result), done.owner_swarm_id) == ({"do": "echo"}, "t")
    assert (done.attempt, done.milestone_note) == (1, "half")
    (entry,) = await entries(calls, "task_executed", "t")
    assert (entry.task_id, entry.attempt) == ("t-1", 1)


async def test_x7_a_note_that_is_no_unicode_is_refused_and_the_fabric_goes_on(
    calls: Client,
) -> None:
    await calls.swarms.register("u", ["wasm"])
    # Half a pair of surrogates: JSON can say it, and UTF-8 cannot.
    module = REPORTING.replace(b"half", rb"\\ud800").replace(b"i32.const 28", b"i32.const 30")
    await calls.chassis.load("u", module, contract("progress"))
    for number in range(2):
        task_id = f"u-{number}"
        task = Task(task_id=task_id, chassis_swarm_id="u", input=to_struct({"n": number}))
        await calls.tasks.create(task)
        done = await reaches(calls, task_id, state(TASK_STATE_COMPLETED))
        assert (from_struct(done.result), done.milestone_note) == ({"n": number}, "")


async def test_x1_g6_a_module_that_fails_fails_its_task_and_opens_its_breaker(
    calls: Client,
) -> None:
    await loaded(calls, "w")
    once = RetryPolicy(max_attempts=1)
    for number in range(3):
        task = Task(task_id=f"w-{number}", chassis_swarm_id="w", retry_policy=once)
        task.input.CopyFrom(to_struct({"do": "x"}))
        await calls.tasks.create(task)
        failed = await reaches(calls, task.task_id, state(TASK_STATE_FAILED))
        assert "exit code 3" in failed.reason
    with pytest.raises(errors.BreakerOpen):
        await calls.chassis.execute("w", "run", {"do": "e"})
    breakers = [each async for page in calls.breakers.pages() for each in page.breakers]
    assert BREAKER_CAUSE_FAILURES in {each.cause for each in breakers if each.swarm_id == "w"}


async def test_g6_an_open_breaker_stops_what_runs(
    shared_server: ServerProcess, calls: Client
) -> None:
    await loaded(calls, "o")
    before = workers(shared_server.pid)
    endless = asyncio.create_task(calls.chassis.execute("o", "run", {"do": "l"}))
    worker = await starts(shared_server, before)
    await calls.breakers.trip("o", "it does nothing")
    with pytest.raises(errors.BreakerOpen, match="it does nothing"):
        await endless
    await ends(worker)
    (cut,) = await entries(calls, "execution_cut", "o")
    assert "it does nothing" in from_struct(cut.details)["reason"]


async def test_c11_x7_who_cancels_a_task_stops_its_guest(
    shared_server: ServerProcess, calls: Client
) -> None:
    await loaded(calls, "k")
    before = workers(shared_server.pid)
    task = Task(task_id="k-1", chassis_swarm_id="k", input=to_struct({"do": "l"}))
    await calls.tasks.create(task)
    worker = await starts(shared_server, before)
    await calls.tasks.cancel("k-1")
    await ends(worker)
    assert (await calls.tasks.get("k-1")).state == TASK_STATE_CANCELLED
    assert (await calls.chassis.execute("k", "next", {"do": "e"})).succeeded


@pytest.mark.parametrize("server", ["1"], indirect=True)
async def test_c10_a_claim_lives_for_as_long_as_its_run(
    server: ServerProcess, client: Client
) -> None:
    """The lease is a second, and the run takes more than twice as long."""
    del server
    await loaded(client, "e", contract(seconds=2.5))
    task = Task(task_id="e-1", chassis_swarm_id="e", input=to_struct({"do": "l"}))
    task.retry_policy.max_attempts = 1
    await client.tasks.create(task)
    failed = await reaches(client, "e-1", state(TASK_STATE_FAILED))
    assert (failed.attempt, failed.failures) == (1, 1)
    assert failed.reason.startswith("execution_time: ")


async def test_c10_c11_a_server_that_goes_leaves_no_worker_and_no_claim(
    server: ServerProcess, client: Client
) -> None:
    await loaded(client, "g", contract(seconds=60))
    task = Task(task_id="g-1", chassis_swarm_id="g", input=to_struct({"do": "l"}))
    await client.tasks.create(task)
    for attempt, stop in enumerate((server.stop, server.kill), 1):
        await reaches(client, "g-1", under(attempt))
        worker = await starts(server)
        await stop()
        await ends(worker)
        await server.start()
    # Killed, its claim has to end first.
    again = await reaches(client, "g-1", under(3))
    assert again.owner_swarm_id == "g"
    lost = QueryEntriesRequest(operation="claim_taken_back", task_id="g-1")
    kinds = [from_struct(entry.details)["kind"] async for entry in client.witness.query(lost)]
    assert kinds == ["drained", "claim_expired"]
