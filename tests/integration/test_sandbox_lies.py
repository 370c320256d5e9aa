"""X2: a worker that lies is found out: every frame it sends is checked, and none is waited for."""

from datetime import timedelta
from pathlib import Path

import pytest

from infrafabric_server.chassis.sandbox.compiled import CompiledModule, ModuleKind
from infrafabric_server.chassis.sandbox.cpu import cpu_share
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.outcome import Outcome, ViolationKind
from infrafabric_server.chassis.sandbox.start import StartFailed
from infrafabric_server.chassis.sandbox.warm_worker import WarmWorker
from tests.harness.documents import ROOT
from tests.integration.sandbox import SOON, Host

pytestmark = pytest.mark.embedded

_PROGRAM = (str(ROOT / "tests/harness/taken_over.py"),)
_LIMITS = Limits(
    max_execution_time=timedelta(seconds=1),
    max_output_bytes=1_000,
    max_api_calls_per_second=5,
)
_END = "wire.write_document(Kind.END, {**end, %s})"

LIES: dict[str, tuple[str, ViolationKind]] = {
    "a kind that there is not": (
        "wire._socket.sendall(b'\\0\\0\\0\\x01\\x63')",
        ViolationKind.PROTOCOL,
    ),
    "a kind that only the service sends": (
        "wire.write(Kind.ANSWER, b'')",
        ViolationKind.PROTOCOL,
    ),
    "a frame of no length": ("wire._socket.sendall(bytes(5))", ViolationKind.PROTOCOL),
    "a frame of four gigabytes": (
        "wire._socket.sendall(b'\\xff\\xff\\xff\\xff' + bytes([Kind.RESULT]))",
        ViolationKind.PROTOCOL,
    ),
    "more of a result than was granted": (
        "wire.write(Kind.RESULT, bytes(1_001))",
        ViolationKind.PROTOCOL,
    ),
    "a result twice": (
        "wire.write(Kind.RESULT, b'1'); wire.write(Kind.RESULT, b'2')",
        ViolationKind.PROTOCOL,
    ),
    "an end without a result": (_END % "", ViolationKind.PROTOCOL),
    "an end that is no JSON": ("wire.write(Kind.END, b'{')", ViolationKind.PROTOCOL),
    "an end that is deep JSON": ("wire.write(Kind.END, b'[' * 60_000)", ViolationKind.PROTOCOL),
    "an end with more memory than was granted": (
        "wire.write(Kind.RESULT, b''); " + _END % "'memory_bytes': 1 << 40",
        ViolationKind.PROTOCOL,
    ),
    "an end with an exit code that is none": (
        "wire.write(Kind.RESULT, b''); " + _END % "'exit_code': True",
        ViolationKind.PROTOCOL,
    ),
    "an end with two reasons": (
        "wire.write(Kind.RESULT, b''); " + _END % "'trap': 'and a trap'",
        ViolationKind.PROTOCOL,
    ),
    "a violation that a worker cannot see": (
        _END % "'exit_code': None, 'stop': {'kind': 'escape', 'detail': ''}",
        ViolationKind.PROTOCOL,
    ),
    "a call without a name": ("wire.write(Kind.CALL, b'\\0')", ViolationKind.PROTOCOL),
    "a call whose name ends early": ("wire.write(Kind.CALL, b'\\x09ec')", ViolationKind.PROTOCOL),
    "a call of a name that is no text": (
        "wire.write(Kind.CALL, b'\\x01\\xff')",
        ViolationKind.PROTOCOL,
    ),
    "a call that is not granted": (
        "wire.write(Kind.CALL, b'\\x04root')",
        ViolationKind.API_DENIED,
    ),
    "lines without an end": (
        "while True: wire.write(Kind.LOG, b'!' * 4096)",
        ViolationKind.API_CALLS,
    ),
    "calls without waiting for an answer": (
        "while True: wire.write(Kind.CALL, b'\\x04echo')",
        ViolationKind.API_CALLS,
    ),
    "calls whose answers it does not read": (
        "while True: wire.write(Kind.CALL, b'\\x04echo' + bytes(1 << 19))",
        ViolationKind.EXECUTION_TIME,
    ),
    "half a frame": ("wire._socket.sendall(b'\\0'); time.sleep(60)", ViolationKind.EXECUTION_TIME),
    "nothing at all": ("time.sleep(60)", ViolationKind.EXECUTION_TIME),
    "its end of the socket is closed": ("os.close(wire._socket.fileno())", ViolationKind.EXIT),
}


@pytest.fixture
def module(tmp_path: Path) -> CompiledModule:
    """Name a file in place of compiled code: this worker does not read it."""
    path = tmp_path / "none.cwasm"
    path.touch()
    return CompiledModule("0" * 64, path, ModuleKind.CORE, frozenset(), optimised=True)


async def _run(module: CompiledModule, code: str, limits: Limits = _LIMITS) -> Outcome:
    worker = await WarmWorker.start(module, limits, cpu_share(), program=_PROGRAM)
    try:
        outcome = await worker.run(code.encode(), Host())
        assert not worker.alive
        return outcome
    finally:
        await worker.close()


@pytest.mark.parametrize(("code", "kind"), LIES.values(), ids=LIES)
async def test_x2_a_lie_ends_the_task_and_the_worker(
    module: CompiledModule, code: str, kind: ViolationKind
) -> None:
    outcome = await _run(module, code)
    (violation,) = outcome.violations
    assert violation.kind is kind, violation
    assert (outcome.result, outcome.exit_code, outcome.succeeded) == (None, None, False)
    assert outcome.usage.wall_seconds < SOON


async def test_x2_a_service_does_not_wait_for_who_does_not_read(module: CompiledModule) -> None:
    # The request is larger than what the socket holds, and its reader sleeps on the first of it.
    outcome = await _run(module, "time.sleep(60)" + " " * (4 << 20))
    assert [it.kind for it in outcome.violations] == [ViolationKind.EXECUTION_TIME]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import sys, os; os.write(int(sys.argv[1]), b'HTTP/1.1 200 OK')", "may not say"),
        ("import os; os.abort()", "killed by SIGABRT"),
    ],
)
async def test_x2_what_is_no_worker_does_not_start(
    module: CompiledModule, program: str, message: str
) -> None:
    with pytest.raises(StartFailed, match=message):
        await WarmWorker.start(module, _LIMITS, cpu_share(), program=("-c", program))


async def test_x2_damaged_code_does_not_start(module: CompiledModule) -> None:
    module.path.write_bytes(b"\x7fELF but nothing more")
    with pytest.raises(StartFailed, match="exit code 1"):
        await WarmWorker.start(module, _LIMITS, cpu_share())
