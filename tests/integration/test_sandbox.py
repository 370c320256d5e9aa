"""X1: modules are compiled and run in the box, and find there what a guest may have."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from infrafabric_server.chassis.sandbox.compiled import ModuleKind
from infrafabric_server.chassis.sandbox.cpu import CpuShare, SignalShare, cpu_share
from infrafabric_server.chassis.sandbox.frames import INPUT_BYTES, Kind
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.outcome import Outcome, ViolationKind
from infrafabric_server.chassis.sandbox.process import WorkerProcess
from infrafabric_server.chassis.sandbox.start import StartFailed
from infrafabric_server.chassis.sandbox.warm_module import WarmModule
from infrafabric_server.chassis.sandbox.warm_worker import settings
from tests.harness.wat import CALL, GOOD, LOG, command, core, wasi, write
from tests.integration.sandbox import TIGHT, Box, Host, gone

pytestmark = pytest.mark.embedded

WIDE = Limits(max_memory_mb=64, max_output_bytes=4 << 20, max_api_calls_per_second=1_000)
_FOREVER = "(loop $again (br $again))"

# Reads up to 64,000 bytes from standard input and writes them to standard output.
_COPY = command(
    """
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 64000))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    """,
    imports=wasi("fd_read", "iiii") + wasi("fd_write", "iiii"),
)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    """One folder of compiled modules for all tests here."""
    return Box(tmp_path_factory.mktemp("modules") / "compiled")


async def once(box: Box, module: bytes, request: bytes, host: Host | None = None) -> Outcome:
    """Run one task in a module of its own, within wide limits."""
    warm = await box.warm(module, WIDE)
    try:
        return await warm.run(request, host or Host())
    finally:
        await warm.close()


async def test_x1_a_command_reads_its_task_and_writes_its_result(box: Box) -> None:
    for request in (b'{"n": 1}', b"", bytes(60_000)):
        outcome = await once(box, _COPY, request)
        assert (outcome.result, outcome.exit_code, outcome.trap) == (request, 0, "")
        assert outcome.succeeded
        assert outcome.usage.output_bytes == len(request)
        assert outcome.usage.memory_bytes == 65_536


async def test_x1_a_core_module_is_given_memory_of_its_own_for_the_task(box: Box) -> None:
    module = core(pages="32")
    assert (await box.warm(module)).module.kind is ModuleKind.CORE
    assert (await box.warm(_COPY)).module.kind is ModuleKind.WASI_COMMAND
    request = GOOD + bytes(1_000_000)
    assert (await once(box, module, request)).result == request


async def test_x1_each_task_has_an_instance_of_its_own(box: Box) -> None:
    counter = core(
        "(global.set $n (i32.add (global.get $n) (i32.const 1))) (i32.store8 (i32.const 2048) "
        "(i32.add (i32.const 48) (global.get $n))) (return (i64.const 0x80000000001))",
        parts="(global $n (mut i32) (i32.const 0))",
    )
    warm = await box.warm(counter)
    try:
        for _ in range(3):
            assert (await warm.run(b"count", Host())).result == b"1"
    finally:
        await warm.close()


async def test_x1_a_failure_leaves_the_worker_warm(box: Box) -> None:
    warm = await box.warm(core("unreachable"))
    try:
        outcome = await warm.run(b"bad", Host())
        first = warm.pid
        assert outcome.exit_code is None
        assert "unreachable" in outcome.trap
        assert (await warm.run(GOOD, Host())).succeeded
        assert warm.pid == first
    finally:
        await warm.close()


async def test_x1_a_worker_does_not_grow_with_its_tasks(box: Box) -> None:
    warm = await box.warm(core("(drop (memory.grow (i32.const 100)))"))
    try:
        await warm.run(b"bad", Host())
        first = (await warm.run(GOOD, Host())).usage.peak_rss_bytes
        for _ in range(200):
            assert (await warm.run(b"bad", Host())).succeeded
        last = (await warm.run(GOOD, Host())).usage.peak_rss_bytes
        assert last - first < 2 << 20
    finally:
        await warm.close()


async def test_x1_an_exit_code_is_the_guests_own(box: Box) -> None:
    module = command("(call $proc_exit (i32.const 3))", wasi("proc_exit", "i"))
    outcome = await once(box, module, b"")
    assert (outcome.exit_code, outcome.violations, outcome.succeeded) == (3, (), False)


async def test_x1_diagnostics_are_kept_apart_from_the_result(box: Box) -> None:
    module = command(
        write(2, 16, 5),
        imports=wasi("fd_write", "iiii"),
        parts='(data (i32.const 16) "oh no")',
    )
    outcome = await once(box, module, b"")
    assert (outcome.result, outcome.diagnostics) == (b"", "oh no")


# Functions of WASI with arguments, and the error number that a guest is given: 8 is a bad
# descriptor, 21 a bad address, 28 an invalid argument, 58 not supported, 70 no place to go to.
_ANSWERS = [
    ("path_open", "iiiiiIIii", (3, 0, 0, 1, 0, 0, 0, 0, 0), 8),
    ("path_unlink_file", "iii", (3, 0, 1), 8),
    ("path_create_directory", "iii", (0, 0, 1), 8),
    ("path_symlink", "iiiii", (0, 1, 3, 0, 1), 8),
    ("fd_prestat_get", "ii", (3, 0), 8),
    ("fd_readdir", "iiiIi", (3, 0, 9, 0, 0), 8),
    ("fd_read", "iiii", (1, 0, 1, 0), 8),
    ("fd_write", "iiii", (0, 0, 1, 0), 8),
    ("fd_write", "iiii", (77, 0, 1, 0), 8),
    ("sock_accept", "iii", (0, 0, 0), 8),
    ("sock_send", "iiiii", (1, 0, 1, 0, 0), 8),
    ("fd_seek", "iIii", (0, 0, 0, 0), 70),
    ("fd_tell", "ii", (0, 0), 70),
    ("fd_close", "i", (2,), 0),
    ("fd_close", "i", (2,), 8),
    ("fd_close", "i", (3,), 8),
    ("fd_fdstat_get", "ii", (1, 0), 0),
    ("fd_fdstat_get", "ii", (1, 65530), 21),
    ("fd_filestat_get", "ii", (0, 0), 0),
    ("fd_fdstat_set_flags", "ii", (0, 4), 0),
    ("proc_raise", "i", (9,), 58),
    ("sched_yield", "", (), 0),
    ("random_get", "ii", (0, 64), 0),
    ("random_get", "ii", (65000, 1000), 21),
    ("args_get", "ii", (0, 8), 0),
    ("args_sizes_get", "ii", (0, -1), 21),
    ("environ_sizes_get", "ii", (0, 4), 0),
    ("environ_get", "ii", (0, 4), 0),
    ("clock_res_get", "ii", (0, 0), 0),
    ("clock_time_get", "iIi", (0, 0, 65532), 21),
    ("poll_oneoff", "iiii", (0, 0, 0, 0), 28),
]


async def test_x1_what_a_guest_has_not_is_not_there(box: Box) -> None:
    asked = "".join(
        f"(i32.store8 (i32.const {4096 + number}) (call ${name} "
        + " ".join(
            f"({'i32' if kind == 'i' else 'i64'}.const {value})"
            for kind, value in zip(parameters, arguments, strict=True)
        )
        + "))"
        for number, (name, parameters, arguments, _) in enumerate(_ANSWERS)
    )
    told = write(1, 4096, len(_ANSWERS))
    imports = {name: wasi(name, parameters) for name, parameters, *_ in _ANSWERS}
    outcome = await once(box, command(asked + told, "".join(imports.values())), b"")
    assert outcome.result is not None
    for (name, _, arguments, expected), answer in zip(_ANSWERS, outcome.result, strict=True):
        assert answer == expected, f"{name}{arguments}"


_SLEEPER = command(
    """
    (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 16)))
    (i64.store (i32.const 536) (i64.const 50000000))
    (drop (call $poll_oneoff (i32.const 512) (i32.const 600) (i32.const 1) (i32.const 700)))
    (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 24)))
    """
    + write(1, 16, 16),
    wasi("clock_time_get", "iIi") + wasi("poll_oneoff", "iiii") + wasi("fd_write", "iiii"),
)


@pytest.mark.parametrize("clock", [False, True])
async def test_x1_time_passes_only_for_whom_it_is_granted(box: Box, clock: bool) -> None:
    warm = await box.warm(_SLEEPER, Limits(clock=clock))
    try:
        outcome = await warm.run(b"", Host())
    finally:
        await warm.close()
    assert outcome.result is not None
    before, after = (int.from_bytes(outcome.result[it : it + 8], "little") for it in (0, 8))
    assert abs(before / 1e9 - time.time()) < 60
    if clock:
        assert after - before >= 50_000_000
        assert outcome.usage.wall_seconds >= 0.05
    else:
        # It believes that it slept.
        assert after - before == 50_000_000


async def test_x1_the_host_hears_lines_and_answers_calls(box: Box) -> None:
    module = core(
        "(call $log (i32.const 0) (i32.const 4)) "
        "(return (call $call (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 5)))",
        imports=LOG + CALL,
        parts='(data (i32.const 0) "echo") (data (i32.const 16) "hello")',
    )
    host = Host()
    outcome = await once(box, module, b"ask", host)
    assert (outcome.result, host.lines, outcome.usage.calls) == (b"olleh", ["echo"], 2)


async def test_x1_a_guest_hears_why_a_call_was_not_done(box: Box) -> None:
    module = core(
        "(local.set $answer (call $call (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 0))) "
        "(if (i64.ge_s (local.get $answer) (i64.const 0)) (then unreachable)) "
        "(return (i64.and (local.get $answer) (i64.const 0x7fffffffffffffff)))",
        imports=CALL,
        parts='(data (i32.const 0) "fail")',
    ).replace(b"(result i64)\n    (if", b"(result i64) (local $answer i64)\n    (if")
    assert (await once(box, module, b"ask")).result == b"no such key"


async def test_x2_a_request_has_a_size(box: Box) -> None:
    with pytest.raises(ValueError, match="at most 16777216 bytes"):
        await once(box, core(), bytes(INPUT_BYTES + 1))


@pytest.mark.parametrize("share", [cpu_share, SignalShare])
async def test_x2_a_share_of_the_processor_is_kept(box: Box, share: Callable[[], CpuShare]) -> None:
    limits = Limits(max_cpu_percent=25, max_execution_time=timedelta(seconds=1.2))
    module = (await box.warm(command(_FOREVER))).module
    warm = WarmModule(module, limits, share())
    try:
        usage = (await warm.run(b"", Host())).usage
    finally:
        await warm.close()
    # It may be a little ahead at any time; on a busy machine it gets less.
    assert usage.cpu_seconds < usage.wall_seconds * 0.25 + 0.15


async def test_x1_a_cancelled_task_is_gone_with_its_worker(box: Box) -> None:
    module = core(
        "(drop (call $call (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 0)))",
        imports=CALL,
        parts='(data (i32.const 0) "hang")',
    )
    warm = await box.warm(module, WIDE)
    host = Host()
    task = asyncio.create_task(warm.run(b"ask", host))
    await host.hanging.wait()
    pid = warm.pid
    assert pid is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(pid)
    assert (await warm.run(GOOD, Host())).succeeded
    await warm.close()


_SERVICE = """
import asyncio, sys
from pathlib import Path
from tests.harness.wat import command
from tests.integration.sandbox import Box, Host
from infrafabric_server.chassis.sandbox.limits import Limits

async def main():
    warm = await Box(Path(sys.argv[1])).warm(command("(loop $again (br $again))"), Limits())
    await warm.prepare()
    task = asyncio.create_task(warm.run(b"", Host()))
    await asyncio.sleep(0)
    print(warm.pid, flush=True)
    await task

asyncio.run(main())
"""


def test_x1_no_worker_outlives_a_service_that_is_killed(box: Box) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", _SERVICE, str(box.folder)], cwd=root, stdout=subprocess.PIPE
    ) as service:
        assert service.stdout is not None
        worker = int(service.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        service.kill()
    assert gone(worker)


def test_x2_a_worker_imports_nothing_of_the_server_but_its_own() -> None:
    program = (
        "import json, sys, infrafabric_server.chassis.sandbox.worker.__main__\n"
        "print(json.dumps([it for it in sys.modules if it.startswith('infrafabric_server')]))\n"
        "print(json.dumps(sorted({it.split('.')[0] for it in sys.modules})))"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, check=True, text=True
    ).stdout.splitlines()
    ours, others = (json.loads(line) for line in answer)
    sandbox = "infrafabric_server.chassis.sandbox"
    assert {it for it in ours if not it.startswith(f"{sandbox}.worker")} == {
        "infrafabric_server",
        "infrafabric_server.chassis",
        sandbox,
        f"{sandbox}.bucket",
        f"{sandbox}.frames",
    }
    assert not {"asyncio", "grpc", "google", "pydantic", "structlog", "dataclasses"} & set(others)


async def test_x2_layers_that_are_demanded_and_do_not_hold_keep_a_module_from_running(
    box: Box,
) -> None:
    module = (await box.warm(core())).module
    held = WarmModule(module, TIGHT, box.share, frozenset({"landlock", "seccomp"}))
    assert (await held.run(GOOD, Host())).succeeded
    await held.close()
    missing = WarmModule(module, TIGHT, box.share, frozenset({"moat"}))
    with pytest.raises(StartFailed, match="demanded, but not held on this machine: moat"):
        await missing.run(GOOD, Host())
    await missing.close()


async def test_x1_a_module_that_is_closed_starts_no_worker(box: Box) -> None:
    warm = await box.warm(core())
    await warm.prepare()
    pid = warm.pid
    assert pid is not None
    await warm.close()
    assert gone(pid)
    with pytest.raises(StartFailed, match="the module is closed"):
        await warm.run(GOOD, Host())


async def test_x1_a_module_that_is_closed_while_it_starts_leaves_no_worker(box: Box) -> None:
    warm = await box.warm(core())
    starting = asyncio.create_task(warm.prepare())
    await asyncio.sleep(0)
    await warm.close()
    with pytest.raises(StartFailed, match="the module is closed"):
        await starting
    assert warm.pid is None


async def test_x1_a_module_that_is_closed_ends_its_task_at_once(box: Box) -> None:
    warm = await box.warm(
        command("(loop $again (br $again))"), Limits(max_execution_time=timedelta(hours=1))
    )
    await warm.prepare()
    task = asyncio.create_task(warm.run(b"", Host()))
    await asyncio.sleep(0)
    await warm.close()
    (violation,) = (await task).violations
    assert violation.kind is ViolationKind.EXIT


async def test_x2_a_guest_is_stopped_even_when_its_service_is_not_there(box: Box) -> None:
    module = (await box.warm(command(_FOREVER))).module
    limits = Limits(max_execution_time=timedelta(seconds=0.5))
    file = os.open(module.path, os.O_RDONLY)
    process = WorkerProcess.start(file, settings(limits))
    os.close(file)
    await process.channel.read(frozenset({Kind.READY}))
    await process.channel.write(Kind.INPUT, b"")
    # Nobody keeps the time here.
    assert (await process.exited()).code == -signal.SIGXCPU
    process.kill()
