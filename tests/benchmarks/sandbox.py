"""The sandbox by itself, in turn with wasmtime as it comes and with a bare pair of sockets."""

import asyncio
import struct
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median

from infrafabric_server.chassis.sandbox.host import NoCalls
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.outcome import Outcome
from infrafabric_server.chassis.sandbox.warm_module import WarmModule
from tests.benchmarks.bare_wasm import Bare
from tests.benchmarks.measuring import Latency, Report, alternate, crowd
from tests.integration.sandbox import Box

# Longer than any loop here takes, even on a machine that is busy with others.
_LIMITS = Limits(max_execution_time=timedelta(seconds=30))
_SWARMS = 8
_ROUNDS = 4
# How long a loop is to take, in seconds: shorter ones are a matter of the way there and back.
_LOOPS = (0.012, 0.05)
# For each kind of loop: the ratio of two medians is to be sure within a percent.
_LOOPED_SECONDS = 2.4

# The first byte of a request says what to do, the second word how often: a(rithmetic), m(emory),
# c(alls); anything else comes back as it is.
_WORK = b"""
(module
  (memory (export "memory") 20)
  (func (export "ifc_alloc") (param i32) (result i32) (i32.const 1024))
  (func $arithmetic (param $n i32) (result i32) (local $x i32)
    (loop $more
      (local.set $x (i32.add
        (i32.mul (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 13)))
          (i32.const 1664525))
        (i32.const 1013904223)))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  (func $memory (param $n i32) (result i32) (local $x i32) (local $at i32)
    (loop $more
      (local.set $at (i32.add (i32.and (local.get $x) (i32.const 0xffffc)) (i32.const 65536)))
      (local.set $x (i32.add
        (i32.mul (local.get $x) (i32.const 1664525))
        (i32.add (i32.load (local.get $at)) (i32.const 1013904223))))
      (i32.store (local.get $at) (local.get $x))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  (func $fibonacci (param $n i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else (i32.add
        (call $fibonacci (i32.sub (local.get $n) (i32.const 1)))
        (call $fibonacci (i32.sub (local.get $n) (i32.const 2)))))))
  (func $calls (param $n i32) (result i32) (local $x i32)
    (loop $more
      (local.set $x (i32.add (local.get $x) (call $fibonacci (i32.const 8))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  (func (export "ifc_run") (param $at i32) (param $size i32) (result i64)
    (local $what i32) (local $n i32)
    (local.set $what (i32.load8_u (local.get $at)))
    (local.set $n (i32.load offset=4 (local.get $at)))
    (if (i32.eq (local.get $what) (i32.const 97))
      (then (i32.store (local.get $at) (call $arithmetic (local.get $n)))))
    (if (i32.eq (local.get $what) (i32.const 109))
      (then (i32.store (local.get $at) (call $memory (local.get $n)))))
    (if (i32.eq (local.get $what) (i32.const 99))
      (then (i32.store (local.get $at) (call $calls (local.get $n)))))
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
      (i64.extend_i32_u (local.get $size)))))
"""
_KINDS = {"arithmetic": b"a", "memory": b"m", "calls": b"c"}


async def sandbox(report: Report, scale: float) -> None:
    """Measure all of it."""

    def times(count: int) -> int:
        return max(5, int(count * scale))

    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder) / "modules")
        before = time.perf_counter()
        warm = await box.warm(_WORK, _LIMITS)
        bare = Bare.start(_WORK)
        try:
            report.heading("sandbox: a compute loop with all limits on, and in bare wasmtime")
            report.figure("compile", f"{(time.perf_counter() - before) * 1e3:.0f} ms")
            for seconds in _LOOPS:
                for kind in _KINDS:
                    rounds = times(int(_LOOPED_SECONDS / seconds))
                    await _loops(report, bare, warm, kind, seconds, rounds)
            await _round_trip(report, bare, warm, times(1000))
        finally:
            bare.stop()
            await warm.close()
        await _cold(report, box, times(40))
        await _several(report, box, times(200))


async def _loops(
    report: Report, bare: Bare, warm: WarmModule, kind: str, seconds: float, rounds: int
) -> None:
    request = await _calibrated(bare, _KINDS[kind], seconds)
    own, boxed = await alternate(rounds, partial(bare.call, request), partial(_task, warm, request))
    without, limited = Latency.of(own), Latency.of(boxed)
    report.figure(f"{kind}, bare", without)
    report.figure(f"{kind}, limits on", limited)
    report.aim(f"{kind} p50, limits on / bare", limited.p50 / without.p50, 1.05)
    before = _cpu_seconds(bare.pid)
    spent = 0.0
    for _ in range(rounds):
        await bare.call(request)
        spent += (await _task(warm, request)).usage.cpu_seconds
    ratio = spent / (_cpu_seconds(bare.pid) - before)
    report.figure(f"{kind} CPU, limits on / bare", f"{ratio:.3f}")


async def _calibrated(bare: Bare, kind: bytes, seconds: float) -> bytes:
    """Return a request that takes as long in bare wasmtime, when that is at its fastest."""
    count = 10_000
    for _ in range(3):
        fastest = min([await _cpu_of(bare, _request(kind, count)) for _ in range(5)])
        count = int(count * seconds / fastest)
    return _request(kind, count)


async def _cpu_of(bare: Bare, request: bytes) -> float:
    before = _cpu_seconds(bare.pid)
    await bare.call(request)
    return _cpu_seconds(bare.pid) - before


def _request(kind: bytes, count: int) -> bytes:
    return kind.ljust(4) + struct.pack("<I", count)


async def _round_trip(report: Report, bare: Bare, warm: WarmModule, rounds: int) -> None:
    request = b"x" * 1024
    inside: list[float] = []

    async def call() -> None:
        inside.append(await bare.call(request))

    echoes, calls, tasks = await alternate(
        rounds, partial(bare.echo, request), call, partial(_task, warm, request)
    )
    echo, own, task = Latency.of(echoes), Latency.of(inside), Latency.of(tasks)
    report.heading("sandbox: a warm task of 1 KiB, there and back")
    report.figure("bare echo over a pair of sockets", echo)
    report.figure("bare call of wasmtime, by itself", own)
    report.figure("bare call, there and back", Latency.of(calls))
    report.figure("warm task", task)
    report.figure("warm task p50 / (echo + call) p50", f"{task.p50 / (echo.p50 + own.p50):.2f}")


async def _cold(report: Report, box: Box, rounds: int) -> None:
    async def interpreter() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", "import wasmtime", stdin=subprocess.DEVNULL
        )
        assert await process.wait() == 0

    async def cold() -> None:
        warm = await box.warm(_WORK, _LIMITS)
        try:
            await _task(warm, b"x")
        finally:
            await warm.close()

    bare, own = await alternate(rounds, interpreter, cold)
    report.heading("sandbox: cold start, the module being compiled already")
    report.figure("Python imports wasmtime, and ends", Latency.of(bare))
    report.figure("worker starts, runs a task, and ends", Latency.of(own))


async def _several(report: Report, box: Box, each: int) -> None:
    """Tasks a second of one swarm and of several, and what each takes of memory when idle."""
    modules = [await box.warm(_WORK, _LIMITS) for _ in range(_SWARMS)]
    try:
        for module in modules:
            await _task(module, b"x")
        report.heading("sandbox: tasks a second, one in flight for each swarm")
        seconds = {1: 0.0, _SWARMS: 0.0}
        for _ in range(_ROUNDS):
            for count in seconds:
                before = time.perf_counter()
                await crowd(count, each, lambda number: _task(modules[number], b"x" * 1024))
                seconds[count] += time.perf_counter() - before
        for count, spent in seconds.items():
            rate = f"{_ROUNDS * count * each / spent:.0f}"
            report.figure(f"tasks a second, {count} of {_SWARMS} swarms", rate)
        memory = [_memory_kib(module.pid or 0) for module in modules]
        report.heading("sandbox: memory of an idle swarm")
        for name in ("Rss", "Pss", "Private"):
            report.figure(name, f"{median(it[name] for it in memory) / 1024:.1f} MiB")
    finally:
        for module in modules:
            await module.close()


async def _task(warm: WarmModule, request: bytes) -> Outcome:
    outcome = await warm.run(request, NoCalls())
    assert outcome.succeeded, outcome
    return outcome


def _cpu_seconds(pid: int) -> float:
    # By nanoseconds: the ticks of `measuring` are as long as a whole loop here.
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _memory_kib(pid: int) -> dict[str, int]:
    """Return what a process has, in KiB: all, its share of it, and what nobody else has."""
    found = {"Private": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size = line.removesuffix("kB").split(":")
        found[name] = int(size)
        if name.startswith("Private_"):
            found["Private"] += int(size)
    return found
