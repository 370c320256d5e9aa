"""A worker that is kept warm: started under all layers, then one task after another."""

import asyncio
import math
import os
import signal
from collections.abc import Sequence
from typing import Any, Self

from infrafabric_server.chassis.sandbox.channel import Closed
from infrafabric_server.chassis.sandbox.compiled import CompiledModule
from infrafabric_server.chassis.sandbox.cpu import CpuShare
from infrafabric_server.chassis.sandbox.exchange import Exchange, Said
from infrafabric_server.chassis.sandbox.frames import INPUT_BYTES, Broken
from infrafabric_server.chassis.sandbox.host import CallDenied, HostCalls, HostFailed
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.messages import Layer
from infrafabric_server.chassis.sandbox.outcome import (
    Outcome,
    Usage,
    Violation,
    ViolationKind,
    full_memory,
)
from infrafabric_server.chassis.sandbox.process import WORKER, Exited, WorkerProcess
from infrafabric_server.chassis.sandbox.start import StartFailed, demand, reported, start

# What Python and wasmtime take for themselves before any guest (21 MB), and while one runs.
_OWN_DATA_BYTES = 70 << 20
# Images of initial memory are files in memory, which no limit of memory counts: 32 of them at most.
_FILE_BYTES = 1 << 20


def settings(limits: Limits) -> dict[str, Any]:
    """Return what a worker is told that runs tasks within some limits."""
    return {
        "compile": False,
        # Twice the output: what grows is copied.
        "data_bytes": _OWN_DATA_BYTES + (limits.max_memory_mb << 20) + 2 * limits.max_output_bytes,
        "file_bytes": _FILE_BYTES,
        "terms": {
            "memory_bytes": limits.max_memory_mb << 20,
            "output_bytes": limits.max_output_bytes,
            "calls_per_second": limits.max_api_calls_per_second,
            "clock": limits.clock,
            "cpu_seconds": math.ceil(limits.max_execution_time.total_seconds()),
        },
    }


class WarmWorker:
    """A process with one module, which runs tasks in it, one at a time.

    It is of no use after a violation: `alive` tells.
    """

    def __init__(
        self,
        process: WorkerProcess,
        layers: tuple[Layer, ...],
        limits: Limits,
        share: CpuShare,
    ) -> None:
        self.layers = layers
        self._process = process
        self._limits = limits
        self._share = share
        self._busy = False

    @classmethod
    async def start(
        cls,
        module: CompiledModule,
        limits: Limits,
        share: CpuShare,
        demanded: frozenset[str] = frozenset(),
        program: Sequence[str] = WORKER,
    ) -> Self:
        """Start a worker for a module.

        Args:
            module: what it will run.
            limits: what each task may take.
            share: keeps it to its share of a processor.
            demanded: names of layers without which nothing may run.
            program: what Python runs.

        Raises:
            StartFailed: no process can be started, it does not load the module, or a demanded
                layer does not hold.
        """
        try:
            file = os.open(module.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StartFailed(f"the compiled module cannot be read: {error}") from error
        try:
            process = start(file, settings(limits), program)
        finally:
            os.close(file)
        try:
            layers = await reported(process, share)
            demand(layers, demanded)
            _attach(share, process, limits)
            await _living(process)
        except BaseException:
            process.kill()
            await process.exited()
            share.detach(process)
            raise
        return cls(process, layers, limits, share)

    @property
    def alive(self) -> bool:
        """Whether it can run another task."""
        return self._process.alive

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    async def run(self, request: bytes, host: HostCalls) -> Outcome:
        """Run a task to its end, whatever that is.

        Cancelled, it kills the worker at once: nothing of the task goes on.

        Args:
            request: what the guest reads; up to 16 MiB.
            host: answers its host calls.

        Returns:
            How it ended. After a violation the worker is killed.

        Raises:
            ValueError: the request is too large.
            RuntimeError: the worker has a task, or is not alive.
        """
        if len(request) > INPUT_BYTES:
            raise ValueError(f"a request has at most {INPUT_BYTES} bytes; this has {len(request)}")
        if self._busy or not self.alive:
            raise RuntimeError("a worker runs one task at a time, while it is alive")
        self._busy = True
        try:
            return await self._run(request, host)
        except BaseException:
            self._process.kill()
            raise
        finally:
            self._busy = False

    async def close(self) -> None:
        """Kill the worker and wait until nothing of it is left."""
        self._process.kill()
        await self._process.exited()
        self._share.detach(self._process)

    async def _run(self, request: bytes, host: HostCalls) -> Outcome:
        loop = asyncio.get_running_loop()
        process, limits = self._process, self._limits
        seconds = limits.max_execution_time.total_seconds()
        start, cpu_before = loop.time(), process.cpu_seconds()
        process.accounts.forget_peak()
        exchange = Exchange(process.channel, limits, host, loop.time)
        violation: Violation | None = None
        exited: Exited | None = None
        fault = ""
        clock = asyncio.timeout(seconds)
        try:
            async with (
                clock,
                self._share.running(process, limits.max_cpu_percent),
            ):
                await exchange.run(request)
        except TimeoutError:
            if not clock.expired():
                raise
            violation = _out_of_time(seconds, loop.time() - start)
        except CallDenied as denied:
            detail = f"called {denied}, which it is not granted"
            violation = Violation(ViolationKind.API_DENIED, detail)
        except HostFailed as failed:
            # It still waits for an answer, which nobody has.
            fault = str(failed)
            process.kill()
            exited = await process.exited()
        except Broken as error:
            violation = Violation(ViolationKind.PROTOCOL, str(error))
        except Closed:
            process.kill()
            exited = await process.exited()
            violation = _death(exited, limits, exited.cpu_seconds - cpu_before)
        said = exchange.said
        violation = violation or exchange.violation
        if violation is None and said is not None:
            violation = _of_end(said, limits)
        wall, peak = loop.time() - start, process.accounts.peak_rss_bytes()
        if violation is not None and exited is None:
            process.kill()
            exited = await process.exited()
        usage = Usage(
            wall_seconds=wall,
            cpu_seconds=max(0.0, process.cpu_seconds() - cpu_before),
            memory_bytes=said.end.memory_bytes if said else 0,
            peak_rss_bytes=peak,
            calls=exchange.calls,
            output_bytes=said.end.output_bytes if said else 0,
        )
        return _outcome(said, usage, violation, fault)


async def _living(process: WorkerProcess) -> None:
    """Raise StartFailed for a worker that died as soon as it was ready."""
    if not process.alive:
        raise StartFailed((await process.exited()).described)


def _attach(share: CpuShare, process: WorkerProcess, limits: Limits) -> None:
    try:
        share.attach(process, limits.max_cpu_percent)
    except OSError as error:
        raise StartFailed(f"the worker's share of the processor cannot be set: {error}") from error


def _outcome(said: Said | None, usage: Usage, violation: Violation | None, fault: str) -> Outcome:
    ended = said is not None and violation is None
    return Outcome(
        result=bytes(said.result) if said and ended and said.result is not None else None,
        exit_code=said.end.exit_code if said and ended else None,
        trap=said.end.trap if said else fault,
        diagnostics=said.end.diagnostics if said else "",
        usage=usage,
        violations=(violation,) if violation else (),
    )


def _out_of_time(seconds: float, wall: float) -> Violation:
    limit, observed = round(seconds * 1_000), round(wall * 1_000)
    detail = f"did not end within {limit} ms"
    return Violation(ViolationKind.EXECUTION_TIME, detail, limit, observed)


def _death(exited: Exited, limits: Limits, cpu_seconds: float) -> Violation:
    kinds = {-signal.SIGSYS: ViolationKind.ESCAPE, -signal.SIGXCPU: ViolationKind.CPU}
    kind = kinds.get(exited.code, ViolationKind.EXIT)
    if kind is ViolationKind.ESCAPE:
        return Violation(kind, "made a system call that no worker makes")
    if kind is ViolationKind.CPU:
        limit = round(limits.max_execution_time.total_seconds() * 1_000)
        observed = round(cpu_seconds * 1_000)
        return Violation(kind, "took more of the processor than it has time", limit, observed)
    return Violation(kind, exited.described)


def _of_end(said: Said, limits: Limits) -> Violation | None:
    if said.end.violation is None and said.end.exit_code != 0:
        return full_memory(limits, said.end.memory_bytes)
    return said.end.violation
