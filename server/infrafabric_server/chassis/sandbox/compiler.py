"""Compiles modules, each in a process that is thrown away, one at a time."""

import asyncio
import hashlib
import signal
from dataclasses import dataclass
from pathlib import Path

from infrafabric_server.chassis.sandbox.cache import Cache
from infrafabric_server.chassis.sandbox.channel import Closed
from infrafabric_server.chassis.sandbox.compiled import (
    CompiledModule,
    ModuleRefused,
    Refusal,
    check,
)
from infrafabric_server.chassis.sandbox.frames import MODULE_BYTES, Broken, Kind
from infrafabric_server.chassis.sandbox.messages import (
    Described,
    read_described,
    read_layers,
    read_refusal,
)
from infrafabric_server.chassis.sandbox.process import Exited, WorkerProcess
from infrafabric_server.chassis.sandbox.start import demand, start

_MIB = 1 << 20
_AT_LAST = frozenset({Refusal.TIME, Refusal.MEMORY})
# What the worker itself can tell of.
_TOLD = frozenset({Refusal.INVALID, Refusal.MEMORY, Refusal.SIZE})


@dataclass(frozen=True)
class CompileLimits:
    """What compiling one module may take.

    Attributes:
        module_bytes: size of the module, at most 64 MiB.
        code_bytes: size of the compiled code.
        memory_bytes: of the process; Cranelift takes about 40 times the size of the module.
        cpu_seconds: of the process; a second try has as much again.
        cache_bytes: of all compiled modules that are kept.
    """

    module_bytes: int = 32 * _MIB
    code_bytes: int = 256 * _MIB
    memory_bytes: int = 1536 * _MIB
    cpu_seconds: int = 15
    cache_bytes: int = 1024 * _MIB


class Compiler:
    """Compiles modules and keeps the results in a private folder.

    Args:
        folder: of the results; made when it is not there.
        limits: what compiling one module may take.

    Raises:
        NotPrivate: others have access to the folder.
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path, limits: CompileLimits | None = None) -> None:
        self._limits = limits or CompileLimits()
        self._cache = Cache(folder, self._limits.cache_bytes)
        self._one = asyncio.Lock()

    async def compile(
        self, module: bytes, demanded: frozenset[str] = frozenset()
    ) -> CompiledModule:
        """Compile a module, or find it compiled.

        A module that takes too long or too much memory is compiled once more without optimising:
        in less of both, to code that is about half as fast.

        Args:
            module: in binary or in text.
            demanded: names of layers without which nothing may be compiled.

        Raises:
            ModuleRefused: it is no module that can run in the box.
            StartFailed: no worker can be started, or it has not the layers that are demanded.
            OSError: the result cannot be written.
        """
        most = min(self._limits.module_bytes, MODULE_BYTES)
        if len(module) > most:
            raise ModuleRefused(
                Refusal.SIZE, f"the module has {len(module)} bytes; at most {most} are compiled"
            )
        digest = await asyncio.to_thread(lambda: hashlib.sha256(module).hexdigest())
        async with self._one:
            found = self._cache.find(digest)
            if found is not None:
                return found
            try:
                return await self._compile(digest, module, demanded, quick=False)
            except ModuleRefused as refused:
                if refused.kind not in _AT_LAST:
                    raise
            return await self._compile(digest, module, demanded, quick=True)

    def find(self, digest: str) -> CompiledModule | None:
        """Return a module that is compiled already, by the SHA-256 of its source."""
        return self._cache.find(digest)

    async def _compile(
        self, digest: str, module: bytes, demanded: frozenset[str], *, quick: bool
    ) -> CompiledModule:
        settings = {
            "compile": True,
            "quick": quick,
            "data_bytes": self._limits.memory_bytes,
            "file_bytes": self._limits.code_bytes,
            "cpu_seconds": self._limits.cpu_seconds,
        }
        with self._cache.writing(digest) as target:
            process = start(target, settings)
            try:
                described = await self._described(process, module, demanded)
            finally:
                process.kill()
                await process.exited()
            check(described)
            await asyncio.to_thread(self._cache.keep, digest, target, described)
        found = self._cache.find(digest)
        if found is None:
            raise OSError("the compiled module is not there although it was just written")
        return found

    async def _described(
        self, process: WorkerProcess, module: bytes, demanded: frozenset[str]
    ) -> Described:
        try:
            # Twice its time of the processor: others want that, too.
            async with asyncio.timeout(2 * self._limits.cpu_seconds + 10):
                _, body = await process.channel.read(frozenset({Kind.READY}))
                demand(read_layers(body), demanded)
                await process.channel.write(Kind.MODULE, module)
                kind, body = await process.channel.read(frozenset({Kind.COMPILED, Kind.REFUSED}))
            if kind is Kind.COMPILED:
                return read_described(body)
            word, detail = read_refusal(body)
        except TimeoutError:
            raise _too_long(self._limits) from None
        except Closed:
            process.kill()
            raise _death(await process.exited(), self._limits) from None
        except Broken as error:
            raise ModuleRefused(Refusal.CRASH, f"the compiler was taken over: {error}") from error
        if word not in _TOLD:
            raise ModuleRefused(Refusal.CRASH, "the compiler gave no reason that it may give")
        raise ModuleRefused(Refusal(word), detail)


def _too_long(limits: CompileLimits) -> ModuleRefused:
    detail = f"compiling takes more than {limits.cpu_seconds} s"
    return ModuleRefused(Refusal.TIME, f"{detail}; make its functions smaller")


def _death(exited: Exited, limits: CompileLimits) -> ModuleRefused:
    if exited.code == -signal.SIGXCPU:
        return _too_long(limits)
    if exited.code == -signal.SIGABRT:
        # So ends a program in Rust that is given no memory.
        detail = f"compiling takes more than {limits.memory_bytes // _MIB} MiB"
        return ModuleRefused(Refusal.MEMORY, f"{detail}; make its functions smaller")
    return ModuleRefused(Refusal.CRASH, f"the compiler crashed: {exited.described}")
