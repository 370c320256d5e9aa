"""X2: whatever pointers and sizes a guest passes to the host, they lead nowhere."""

import random
import struct

import pytest

from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.outcome import ViolationKind
from tests.harness.wat import CALL, LOG, wasi
from tests.integration.sandbox import Box, Host

pytestmark = pytest.mark.embedded

_FUNCTIONS = {
    "fd_read": "iiii",
    "fd_write": "iiii",
    "fd_fdstat_get": "ii",
    "fd_filestat_get": "ii",
    "args_get": "ii",
    "args_sizes_get": "ii",
    "environ_sizes_get": "ii",
    "clock_res_get": "ii",
    "random_get": "ii",
    "poll_oneoff": "iiii",
}
_EDGES = (0, 1, 2, 8, 1024, 65_528, 65_532, 65_535, 65_536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _argument(place: int) -> str:
    return f"(i32.load offset={1028 + 4 * place} (i32.const 0))"


def _module() -> bytes:
    """Return a module whose task names a host function, by number, and its arguments."""
    calls = [
        f"(call ${name} {' '.join(_argument(it) for it in range(len(parameters)))}) drop"
        for name, parameters in _FUNCTIONS.items()
    ]
    four = " ".join(_argument(it) for it in range(4))
    calls += (
        f"(call $log {_argument(0)} {_argument(1)})",
        f"(drop (call $call {four}))",
        "(return (i64.load offset=1028 (i32.const 0)))",
    )
    chosen = "".join(
        f"(if (i32.eq (i32.load (i32.const 1024)) (i32.const {number})) (then {call}))"
        for number, call in enumerate(calls)
    )
    imports = "".join(wasi(name, parameters) for name, parameters in _FUNCTIONS.items())
    return f"""
(module
  {imports} {LOG} {CALL}
  (memory (export "memory") 1)
  (data (i32.const 0) "echo")
  (func (export "ifc_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "ifc_run") (param i32 i32) (result i64) {chosen} (i64.const 0)))
""".encode()


@pytest.fixture
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    """Return a folder of compiled modules."""
    return Box(tmp_path_factory.mktemp("modules") / "compiled")


async def test_x2_no_pointer_of_a_guest_leaves_its_memory(box: Box) -> None:
    chance = random.Random(11)
    warm = await box.warm(_module(), Limits(max_memory_mb=1, max_api_calls_per_second=10_000))
    functions = len(_FUNCTIONS) + 3
    ends = {"done": 0, "trap": 0, "violation": 0}
    try:
        for number in range(20 * functions):
            arguments = [chance.choice((*_EDGES, chance.getrandbits(32))) for _ in range(4)]
            outcome = await warm.run(struct.pack("<5I", number % functions, *arguments), Host())
            if outcome.violations:
                ends["violation"] += 1
                # A call of a name that is not granted, or a size beyond what may be written.
                assert outcome.violations[0].kind in (
                    ViolationKind.API_DENIED,
                    ViolationKind.OUTPUT,
                ), (number % functions, arguments, outcome)
            else:
                ends["trap" if outcome.trap else "done"] += 1
    finally:
        await warm.close()
    assert all(ends.values()), ends
