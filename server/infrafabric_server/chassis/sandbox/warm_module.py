"""A module with a warm worker; another takes its place when it had to be killed."""

import asyncio

from infrafabric_server.chassis.sandbox.compiled import CompiledModule
from infrafabric_server.chassis.sandbox.cpu import CpuShare
from infrafabric_server.chassis.sandbox.host import HostCalls
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.messages import Layer
from infrafabric_server.chassis.sandbox.outcome import Outcome
from infrafabric_server.chassis.sandbox.start import StartFailed
from infrafabric_server.chassis.sandbox.warm_worker import WarmWorker


class WarmModule:
    """A module that is ready to run, one task after another.

    Args:
        module: what to run.
        limits: what each task may take.
        share: keeps workers to their share of a processor; one for the whole service.
        demanded: names of layers without which nothing may run.
    """

    def __init__(
        self,
        module: CompiledModule,
        limits: Limits,
        share: CpuShare,
        demanded: frozenset[str] = frozenset(),
    ) -> None:
        self.module = module
        self.limits = limits
        self._share = share
        self._demanded = demanded
        self._one = asyncio.Lock()
        self._worker: WarmWorker | None = None
        self._closed = False

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the worker that there is now."""
        return self._worker.layers if self._worker else ()

    @property
    def pid(self) -> int | None:
        """The number of the worker's process, while there is one."""
        return self._worker.pid if self._worker and self._worker.alive else None

    async def prepare(self) -> None:
        """Have a worker ready, so that the next task need not wait for its start.

        Raises:
            StartFailed: none can be started, or it has not the layers that are demanded.
        """
        async with self._one:
            await self._ready()

    async def run(self, request: bytes, host: HostCalls) -> Outcome:
        """Run a task to its end, whatever that is; it waits for the one before.

        Cancelled, it ends the task at once.

        Args:
            request: what the guest reads; up to 16 MiB.
            host: answers its host calls.

        Raises:
            StartFailed: no worker can be started, it has not the layers that are demanded, or the
                module is closed.
            ValueError: the request is too large.
        """
        async with self._one:
            return await (await self._ready()).run(request, host)

    async def close(self) -> None:
        """Kill the worker, for good; a task that is under way ends with a violation."""
        self._closed = True
        await self._drop()

    async def _drop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()

    async def _ready(self) -> WarmWorker:
        self._insist_open()
        if self._worker is not None and not self._worker.alive:
            await self._drop()
        if self._worker is None:
            worker = await WarmWorker.start(self.module, self.limits, self._share, self._demanded)
            if self._closed:
                # While it started.
                await worker.close()
            self._insist_open()
            self._worker = worker
        return self._worker

    def _insist_open(self) -> None:
        if self._closed:
            raise StartFailed("the module is closed")
