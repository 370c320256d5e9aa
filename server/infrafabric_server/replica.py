"""One server process: what is open, what decides and what is served, from start to end."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry

from infrafabric_server.adapters import Adapters
from infrafabric_server.components import Components
from infrafabric_server.config import Address, Settings
from infrafabric_server.edge.store_metrics import show_leader, show_policies
from infrafabric_server.endpoints import Endpoints
from infrafabric_server.errors import FabricError
from infrafabric_server.fleet.leadership import while_leading
from infrafabric_server.store.protocol import StoreClosed, StoreRefused
from infrafabric_server.witness import figures

_log = structlog.get_logger(__name__)


class Stop:
    """Why and how fast a server is to end: first to drain, then to wait for nobody any more.

    `refusal` is why the store cannot be used any more, if that is why.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.refusal: StoreRefused | None = None

    def ask(self) -> None:
        """Take a signal."""
        (self.hurried if self.asked.is_set() else self.asked).set()

    def refuse(self, refusal: StoreRefused) -> None:
        """Take it that the store cannot be used any more; the first reason counts."""
        if self.refusal is None:
            self.refusal = refusal
            _log.error("store_refused", reason=str(refusal))
        self.asked.set()


@dataclass(frozen=True, slots=True)
class Replica:
    """One server process, connected and not yet running."""

    settings: Settings
    components: Components
    endpoints: Endpoints

    @classmethod
    async def build(
        cls, settings: Settings, adapters: Adapters, registry: CollectorRegistry
    ) -> "Replica":
        """Connect everything over what is open, and load the views."""
        components = await Components.over(settings, adapters)
        await components.mirror.start()
        endpoints = Endpoints.over(settings, adapters.store, components, registry)
        leadership, recording = components.replicas.leadership, components.recording
        show_leader(registry, lambda: leadership.leading)
        show_policies(registry, components.agreement.differing)
        figures.show(registry, recording.sealer, recording.tail, recording.copy)
        return cls(settings, components, endpoints)

    async def run(self, stop: Stop) -> None:
        """Serve until it is asked to stop, then drain: what was accepted is finished and sealed.

        When the store refuses to be used any more, it is `stop` that is told, and what was
        accepted is left to the other replicas, or to the next start.
        """
        parts, notify = self.components.parts, self.components.notify
        async with asyncio.TaskGroup() as group:

            def start(run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
                return group.create_task(_until_refused(run, stop))

            inner = [start(run) for run in self._works()]
            notify.start()
            inner.append(start(notify.run))
            await asyncio.sleep(0)
            parts.reactions.begin()
            serving = group.create_task(self.endpoints.gateway.run())
            grpc_port = await self.endpoints.grpc.start()
            await self.endpoints.gateway.ready()
            self._announce(grpc_port)
            await stop.asked.wait()
            if stop.refusal is not None:
                # Whoever waits for news of the store waits in vain.
                await self.components.mirror.close()
            await self._drain(serving, stop)
            await parts.slots.close()
            for task in inner:
                task.cancel()
        await self.components.mirror.close()

    def _works(self) -> list[Callable[[], Awaitable[None]]]:
        components, parts = self.components, self.components.parts
        requests, leadership = parts.coordinator.records.requests, components.replicas.leadership
        return [
            components.mirror.run,
            components.replicas.run,
            components.attendance.run,
            parts.background.run,
            parts.dispatcher.run,
            parts.timers.run,
            components.witness.run,
            components.policy.run,
            components.governor.roller.run,
            lambda: while_leading(leadership, requests.run),
            components.chassis.reputations.run,
            components.chassis.runner.run,
            components.chassis.workers.rest,
            lambda: while_leading(leadership, components.chassis.upkeep.run),
            lambda: while_leading(leadership, components.chassis.standing_keeper.run),
            lambda: while_leading(leadership, components.governor.breaker_keeper.run),
            lambda: while_leading(leadership, components.help_keeper.run),
            lambda: while_leading(leadership, components.governor.former.run),
            lambda: while_leading(leadership, components.escalation.desk.run),
            lambda: while_leading(leadership, components.escalation.sender.run),
            components.escalation.violations.run,
            lambda: while_leading(leadership, components.escalation.violations.forget),
        ]

    def _announce(self, grpc_port: int) -> None:
        grpc = Address(self.settings.grpc.host, grpc_port)
        http = Address(self.settings.http.host, self.endpoints.gateway.port)
        sys.stdout.write(f"ready grpc={grpc} http={http}\n")
        sys.stdout.flush()

    async def _drain(self, serving: asyncio.Task[None], stop: Stop) -> None:
        grpc, gateway, parts = self.endpoints.grpc, self.endpoints.gateway, self.components.parts
        _log.info("draining", sessions=len(parts.links))
        await grpc.drain()
        parts.coordinator.sessions.drain("the server stops; resume at another one")
        await self.components.chassis.runner.drain()
        gateway.stop()
        async with asyncio.TaskGroup() as group:
            finishing = group.create_task(self._finish(serving, stop))
            hurry = group.create_task(stop.hurried.wait())
            await asyncio.wait((finishing, hurry), return_when=asyncio.FIRST_COMPLETED)
            finishing.cancel()
            hurry.cancel()
        if finishing.cancelled():
            # What was acknowledged is in the store, and is sealed after the next start.
            _log.warning("drain_cut_short")
            gateway.abort()
            await grpc.stop(0)
            await serving
        _log.info("drained")

    async def _finish(self, serving: asyncio.Task[None], stop: Stop) -> None:
        await self.endpoints.grpc.stop(self.settings.drain_seconds)
        await asyncio.wait((serving,))
        if stop.refusal is not None:
            return
        try:
            await self.components.witness.flush()
        except FabricError as error:
            _log.warning("decisions_left_in_the_outbox", error=str(error))


async def _until_refused(run: Callable[[], Awaitable[None]], stop: Stop) -> None:
    try:
        await run()
    except* StoreClosed:
        if stop.refusal is None:
            raise
    except* StoreRefused as refused:
        first: BaseException = refused
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        assert isinstance(first, StoreRefused)
        stop.refuse(first)
