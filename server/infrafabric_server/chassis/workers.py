"""The workers of this server: one is kept warm for each swarm that has work."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from infrafabric_server.chassis.box import Fetch
from infrafabric_server.chassis.models import LoadedSwarm, ModuleKind
from infrafabric_server.chassis.modules import MIB
from infrafabric_server.chassis.sandbox.cache import NotPrivate
from infrafabric_server.chassis.sandbox.compiled import CompiledModule, ModuleRefused
from infrafabric_server.chassis.sandbox.compiler import CompileLimits, Compiler
from infrafabric_server.chassis.sandbox.cpu import CpuShare, cpu_share
from infrafabric_server.chassis.sandbox.host import HostCalls
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.messages import Layer
from infrafabric_server.chassis.sandbox.outcome import Outcome
from infrafabric_server.chassis.sandbox.probe import probe_layers
from infrafabric_server.chassis.sandbox.start import StartFailed
from infrafabric_server.chassis.sandbox.warm_module import WarmModule
from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.protocol import StoreRefused

# Without work for as long, a worker ends: the next run waits 0.1 s for another one.
_WARM_SECONDS = 60.0
_LOOK_SECONDS = 15.0
# Each takes some 9 MB of its own, and shares 12 MB with the others.
_MOST_WARM = 32
# The policy takes no larger ones.
_MOST_MODULE_BYTES = 64 * MIB

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Warm:
    """What waits for the next run of a swarm, since a moment of the clock."""

    ready: WarmModule
    loaded: LoadedSwarm
    demanded: frozenset[str]
    since: float

    def fits(self, loaded: LoadedSwarm, demanded: frozenset[str]) -> bool:
        """Tell whether it is what a run would be given if it were made anew."""
        known = self.loaded
        same = (known.module_sha256, known.contract.limits) == (
            loaded.module_sha256,
            loaded.contract.limits,
        )
        there = self.ready.pid is not None or self.ready.module.path.exists()
        return same and self.demanded == demanded and there


class Workers:
    """The sandbox as a Box; see there.

    A worker is never shared by swarms; another takes its place when it broke a limit, when its
    swarm was loaded anew or other layers are required.
    """

    def __init__(
        self,
        compiler: Compiler,
        share: CpuShare,
        policies: PolicyBook,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take what workers need.

        Args:
            compiler: compiles modules into a private folder.
            share: keeps workers to their share of a processor.
            policies: say which layers are required.
            clock: tells for how long a worker had no work.
            sleep: waits for seconds of `clock`.
        """
        self._compiler = compiler
        self._share = share
        self._policies = policies
        self._clock = clock
        self._sleep = sleep
        self._probing = asyncio.Lock()
        self._layers: tuple[Layer, ...] | None = None
        self._warm: dict[str, _Warm] = {}

    @classmethod
    def of(cls, folder: Path, policies: PolicyBook, clock: Clock) -> "Workers":
        """Return the workers of a server that keeps compiled modules in a folder.

        Raises StoreRefused when others can write to the folder, OSError when it cannot be made.
        """
        try:
            compiler = Compiler(folder, CompileLimits(module_bytes=_MOST_MODULE_BYTES))
        except NotPrivate as error:
            raise StoreRefused(str(error)) from error
        return cls(compiler, cpu_share(), policies, clock)

    async def layers(self) -> tuple[Layer, ...]:
        """See Box; they are looked for once."""
        async with self._probing:
            if self._layers is None:
                try:
                    self._layers = await probe_layers(self._share)
                except StartFailed as error:
                    raise _closed(error) from error
            return self._layers

    async def compile(self, module: bytes) -> ModuleKind:
        """See Box."""
        return (await self._compile(module)).kind

    async def run(
        self, loaded: LoadedSwarm, fetch: Fetch, given: bytes, host: HostCalls
    ) -> Outcome:
        """See Box."""
        swarm_id = loaded.swarm_id
        demanded = self._demanded()
        warm = self._warm.pop(swarm_id, None)
        if warm is not None and not warm.fits(loaded, demanded):
            await warm.ready.close()
            warm = None
        if warm is None:
            module = self._compiler.find(loaded.module_sha256)
            if module is None:
                module = await self._compile(await fetch())
            ready = WarmModule(module, _limits(loaded), self._share, demanded)
            warm = _Warm(ready, loaded, demanded, 0.0)
        try:
            return await warm.ready.run(given, host)
        except StartFailed as error:
            raise _closed(error) from error
        finally:
            warm.since = self._clock.monotonic()
            self._warm[swarm_id] = warm
            if len(self._warm) > _MOST_WARM:
                # The one that has waited longest: dictionaries keep the order.
                await self._end(next(iter(self._warm)))

    async def rest(self) -> None:
        """End workers that have had no work for long, until cancelled; then end all."""
        try:
            while True:
                await self._sleep(_LOOK_SECONDS)
                before = self._clock.monotonic() - _WARM_SECONDS
                for swarm_id in [id_ for id_, each in self._warm.items() if each.since < before]:
                    await self._end(swarm_id)
        finally:
            for swarm_id in list(self._warm):
                await self._end(swarm_id)

    async def _end(self, swarm_id: str) -> None:
        warm = self._warm.pop(swarm_id, None)
        if warm is not None:
            await warm.ready.close()

    async def _compile(self, module: bytes) -> CompiledModule:
        try:
            return await self._compiler.compile(module, self._demanded())
        except ModuleRefused as refused:
            raise FabricError(
                Reason.MODULE_REFUSED, f"the module is refused ({refused.kind}): {refused.detail}"
            ) from refused
        except (OSError, StartFailed) as error:
            raise _closed(error) from error

    def _demanded(self) -> frozenset[str]:
        return frozenset(self._policies.current.policy.chassis.required_layers)


def _limits(loaded: LoadedSwarm) -> Limits:
    limits = loaded.contract.limits
    return Limits(
        max_memory_mb=limits.max_memory_mb,
        max_cpu_percent=limits.max_cpu_percent,
        max_execution_time=limits.max_execution_time,
        max_output_bytes=limits.max_output_bytes,
        max_api_calls_per_second=limits.max_api_calls_per_second,
    )


def _closed(error: StartFailed | OSError) -> FabricError:
    _log.error("no_worker", reason=str(error))
    return FabricError(
        Reason.CHASSIS_CLOSED,
        f"this server can run no foreign code: {error}; see infrafabric chassis doctor",
    )
