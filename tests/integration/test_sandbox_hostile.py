"""X7: modules that try to take more than they may are stopped, and their next task works."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from infrafabric_server.chassis.sandbox.compiled import ModuleRefused, Refusal
from infrafabric_server.chassis.sandbox.compiler import CompileLimits, Compiler
from infrafabric_server.chassis.sandbox.cpu import cpu_share
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.outcome import Outcome, ViolationKind
from infrafabric_server.chassis.sandbox.warm_module import WarmModule
from tests.harness.wat import GOOD, core, nested
from tests.integration.hostile_modules import AT_ONCE, HOSTILE, REFUSED, Hostile, Refused
from tests.integration.sandbox import SOON, TIGHT, Box, Host

pytestmark = pytest.mark.embedded

# A good task takes a few milliseconds.
_SHORT = replace(TIGHT, max_execution_time=timedelta(seconds=1))
# A worker has 21 MB before any guest.
_RSS_BYTES = (21 + 40 + TIGHT.max_memory_mb) << 20


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    """One folder of compiled modules for all tests here."""
    return Box(tmp_path_factory.mktemp("modules") / "compiled")


def _limits(hostile: Hostile) -> Limits:
    return _SHORT if hostile.ends is ViolationKind.EXECUTION_TIME else TIGHT


def _check(hostile: Hostile, outcome: Outcome) -> None:
    assert not outcome.succeeded
    assert outcome.result is None
    assert outcome.usage.wall_seconds < SOON
    assert outcome.usage.peak_rss_bytes < _RSS_BYTES
    if isinstance(hostile.ends, ViolationKind):
        (violation,) = outcome.violations
        assert violation.kind is hostile.ends, outcome
        assert violation.detail
        if violation.limit is not None and violation.observed is not None:
            # A guest whose memory is full has not gone beyond it.
            beyond = violation.kind is not ViolationKind.MEMORY
            assert violation.observed > violation.limit or not beyond
    else:
        assert outcome.violations == ()
        assert hostile.ends in outcome.trap


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda it: it.name)
async def test_x7_a_hostile_task_is_stopped_and_the_next_one_works(
    box: Box, hostile: Hostile
) -> None:
    warm = await box.warm(hostile.module, _limits(hostile))
    try:
        _check(hostile, await warm.run(b"bad", Host()))
        assert (await warm.run(GOOD, Host())).result == GOOD
    finally:
        await warm.close()


@pytest.mark.parametrize("hostile", AT_ONCE, ids=lambda it: it.name)
async def test_x7_a_module_that_is_hostile_from_its_start_is_stopped_each_time(
    box: Box, hostile: Hostile
) -> None:
    warm = await box.warm(hostile.module, _limits(hostile))
    try:
        for _ in range(2):
            _check(hostile, await warm.run(GOOD, Host()))
    finally:
        await warm.close()


@pytest.mark.parametrize("refused", REFUSED, ids=lambda it: it.name)
async def test_x7_a_module_that_cannot_be_held_is_not_compiled(box: Box, refused: Refused) -> None:
    with pytest.raises(ModuleRefused) as caught:
        await box.warm(refused.module)
    assert caught.value.kind is refused.kind
    assert caught.value.detail


async def test_x7_a_compile_bomb_is_compiled_without_optimising(tmp_path: Path) -> None:
    compiler = Compiler(tmp_path / "compiled", CompileLimits(cpu_seconds=1))
    compiled = await compiler.compile(nested(30_000))
    assert not compiled.optimised
    assert compiler.find(compiled.digest) == compiled
    warm = WarmModule(compiled, TIGHT, cpu_share())
    assert (await warm.run(GOOD, Host())).result == GOOD
    await warm.close()


async def test_x7_what_takes_too_long_even_so_is_refused_and_the_next_module_compiles(
    tmp_path: Path,
) -> None:
    compiler = Compiler(tmp_path / "compiled", CompileLimits(cpu_seconds=0))
    with pytest.raises(ModuleRefused, match="compiling takes more than 0 s") as caught:
        await compiler.compile(_many_functions())
    assert caught.value.kind is Refusal.TIME
    assert (await compiler.compile(core())).path.exists()


async def test_x7_what_takes_too_much_memory_to_compile_is_refused(tmp_path: Path) -> None:
    compiler = Compiler(tmp_path / "compiled", CompileLimits(memory_bytes=60 << 20))
    with pytest.raises(ModuleRefused) as caught:
        await compiler.compile(_many_functions())
    assert caught.value.kind is Refusal.MEMORY


async def test_x7_a_module_has_a_size_and_so_has_its_code(tmp_path: Path) -> None:
    limits = CompileLimits(module_bytes=10_000, code_bytes=4_096)
    compiler = Compiler(tmp_path / "compiled", limits)
    for module in (bytes(10_001), core()):
        with pytest.raises(ModuleRefused) as caught:
            await compiler.compile(module)
        assert caught.value.kind is Refusal.SIZE
    assert list((tmp_path / "compiled").iterdir()) == []


def _many_functions() -> bytes:
    sums = "(i32.add (local.get 0) " * 60 + "(i32.const 1)" + ")" * 60
    return core(parts=f"(func (param i32) (result i32) {sums})" * 20_000)
