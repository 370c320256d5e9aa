"""The composition root: the only place that names concrete adapters."""

import asyncio
import gc
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

import structlog
import uvloop
from google.protobuf.descriptor import FileDescriptor
from grpc import aio
from prometheus_client import CollectorRegistry

from infrafabric.v1 import (
    coordinator_service_pb2,
    governor_service_pb2,
    notify_service_pb2,
    witness_service_pb2,
)
from infrafabric.v1.coordinator_service_pb2_grpc import add_CoordinatorServiceServicer_to_server
from infrafabric.v1.governor_service_pb2_grpc import add_GovernorServiceServicer_to_server
from infrafabric.v1.notify_service_pb2_grpc import add_NotifyServiceServicer_to_server
from infrafabric.v1.witness_service_pb2_grpc import add_WitnessServiceServicer_to_server
from infrafabric_server.adapters import Adapters, opened
from infrafabric_server.bus.address import BusRefusedError
from infrafabric_server.clock import SystemClock
from infrafabric_server.config import Address, Settings
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.build import Limits, Parts, build_coordinator
from infrafabric_server.coordinator.service.servicer import CoordinatorServicer
from infrafabric_server.edge.grpc_server import GrpcServer, ListenError, Service
from infrafabric_server.edge.store_metrics import show_leader
from infrafabric_server.errors import FabricError
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership, while_leading
from infrafabric_server.fleet.presence import Presence
from infrafabric_server.fleet.replicas import Replicas
from infrafabric_server.gateway.app import create_app
from infrafabric_server.gateway.events import Events
from infrafabric_server.gateway.server import GatewayServer
from infrafabric_server.governor.governor import Governor
from infrafabric_server.governor.roster import Roster
from infrafabric_server.governor.service import GovernorService
from infrafabric_server.logs import configure_logs
from infrafabric_server.notify.notify import Notify
from infrafabric_server.notify.service import NotifyService, StatusFrames
from infrafabric_server.notify.watch import StatusWatch
from infrafabric_server.store.feed import Feed
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Store, StoreRefused, StoreUnavailable
from infrafabric_server.witness import figures
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.outbox import Outbox
from infrafabric_server.witness.recording import Recording
from infrafabric_server.witness.service import WitnessService
from infrafabric_server.witness.witness import Witness

ServicerT = TypeVar("ServicerT")

_log = structlog.get_logger(__name__)

# The thread that commits waits for the interpreter's lock as long as the event loop holds
# it, at most this long instead of Python's 5 ms: a commit takes less than that.
_SWITCH_SECONDS = 0.0005

# The views hold many objects for long and almost no cycles: looking for those as often as
# Python does by default costs several milliseconds at a time, in the middle of a claim.
_GC_THRESHOLDS = (50_000, 50, 100)


def serve(settings: Settings) -> int:
    """Run a server until SIGTERM or SIGINT, then drain it; a second signal cuts the drain short.

    Prints one line when both ports answer: `ready grpc=HOST:PORT http=HOST:PORT`.
    Returns 0 after a drain, 1 when the data directory or a port cannot be had: the log says
    why and what to do.
    """
    configure_logs(settings.log_level)
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.set_threshold(*_GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(settings))
        except (StoreRefused, StoreUnavailable, BusRefusedError, OSError) as error:
            _log.error("refused_to_start", reason=str(error))
            return 1
        except ExceptionGroup as group:
            # The gRPC port is bound when the parts that serve it run already.
            if not (taken := group.subgroup(ListenError)):
                raise
            _log.error("refused_to_start", reason=str(taken.exceptions[0]))
            return 1
    return 0


class Stop:
    """What the process was asked for: first to drain, then to wait for nobody any more."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def ask(self) -> None:
        """Take a signal."""
        (self.hurried if self.asked.is_set() else self.asked).set()


async def _serve(settings: Settings) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.ask)
    registry = CollectorRegistry()
    async with opened(settings, registry) as adapters:
        replica = await Replica.build(settings, adapters, registry)
        await replica.run(stop)


@dataclass(frozen=True, slots=True)
class Replica:
    """One server process, connected and not yet running."""

    settings: Settings
    mirror: Mirror
    replicas: Replicas
    attendance: Attendance
    parts: Parts
    notify: Notify
    witness: Witness
    grpc: GrpcServer
    gateway: GatewayServer

    @classmethod
    async def build(
        cls, settings: Settings, adapters: Adapters, registry: CollectorRegistry
    ) -> "Replica":
        """Connect everything over what is open, and load the views."""
        store = adapters.store
        name = secrets.token_hex(4)
        mirror = Mirror(store, shared=adapters.shared)
        replicas = _place(settings, adapters, mirror, name)
        clock, leadership = replicas.clock, replicas.leadership
        attendance = _attendance(settings, adapters, replicas.present, name)
        fleet = Fleet(mirror)
        roster = Roster()
        governor = Governor(fleet.swarms, roster)
        recording = await _recording(settings, adapters, leadership)
        outbox = Outbox(clock, name, recording.sealer)
        flood = Flood(outbox, store, clock, component="coordinator")
        parts = build_coordinator(
            store,
            mirror,
            fleet,
            roster,
            outbox,
            flood,
            clock,
            leadership,
            attendance,
            replica=name,
            limits=Limits(
                lease=settings.lease_seconds,
                claim_ttl=settings.claim_ttl_seconds,
                ack=settings.ack_seconds,
            ),
        )
        records = parts.coordinator.records
        notify = Notify(
            mirror,
            fleet,
            parts.coordinator,
            outbox,
            clock,
            leadership,
            replica=name,
            broadcasts=records.broadcasts,
            requests=records.requests,
            escalate_after=timedelta(seconds=settings.escalate_seconds),
        )
        await mirror.start()
        watched = Feed(store, mirror, [fleet.statuses, fleet.swarms, records.broadcasts])
        statuses = StatusWatch(watched, fleet, notify.see)
        show_leader(registry, lambda: leadership.leading)
        figures.show(registry, recording.sealer, recording.tail, recording.copy)
        witness = Witness(
            recording.log,
            recording.tail,
            recording.sealer,
            flood,
            copy=recording.copy,
            patience=recording.patience,
        )
        coordinator = CoordinatorServicer(
            parts.coordinator, Feed(store, mirror, [records.tasks]), StatusFrames(notify)
        )
        services = [
            _service(
                coordinator_service_pb2, add_CoordinatorServiceServicer_to_server, coordinator
            ),
            _service(
                notify_service_pb2,
                add_NotifyServiceServicer_to_server,
                NotifyService(notify, statuses),
            ),
            _service(
                governor_service_pb2,
                add_GovernorServiceServicer_to_server,
                GovernorService(governor),
            ),
            _service(
                witness_service_pb2,
                add_WitnessServiceServicer_to_server,
                WitnessService(witness),
            ),
        ]
        grpc = GrpcServer(
            str(settings.grpc),
            services,
            registry,
            catch_up=mirror.catch_up if adapters.shared else None,
        )
        events = Events(statuses)
        app = create_app(
            notify,
            events,
            parts.coordinator.placing,
            health=partial(_health, store, recording),
            registry=registry,
            is_draining=lambda: grpc.draining,
            catch_up=mirror.catch_up,
            loopback=True,
        )
        gateway = GatewayServer(app, events, _bound(settings.http))
        return cls(settings, mirror, replicas, attendance, parts, notify, witness, grpc, gateway)

    async def run(self, stop: Stop) -> None:
        """Serve until it is asked to stop, then drain: what was accepted is finished and sealed."""
        async with asyncio.TaskGroup() as group:

            def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
                return group.create_task(work)

            requests = self.parts.coordinator.records.requests
            inner = [
                start(self.mirror.run()),
                start(self.replicas.run()),
                start(self.attendance.run()),
                start(self.parts.background.run()),
                start(self.parts.dispatcher.run()),
                start(self.parts.timers.run()),
                start(self.witness.run()),
                start(while_leading(self.replicas.leadership, requests.run)),
            ]
            self.notify.start()
            inner.append(start(self.notify.run()))
            await asyncio.sleep(0)
            self.parts.reactions.begin()
            serving = start(self.gateway.run())
            grpc_port = await self.grpc.start()
            await self.gateway.ready()
            self._announce(grpc_port)
            await stop.asked.wait()
            await self._drain(serving, stop.hurried)
            await self.parts.slots.close()
            for task in inner:
                task.cancel()
        await self.mirror.close()

    def _announce(self, grpc_port: int) -> None:
        grpc = Address(self.settings.grpc.host, grpc_port)
        http = Address(self.settings.http.host, self.gateway.port)
        sys.stdout.write(f"ready grpc={grpc} http={http}\n")
        sys.stdout.flush()

    async def _drain(self, serving: asyncio.Task[None], hurried: asyncio.Event) -> None:
        _log.info("draining", sessions=len(self.parts.links))
        await self.grpc.drain()
        self.parts.coordinator.sessions.drain("the server stops; resume at another one")
        self.gateway.stop()
        async with asyncio.TaskGroup() as group:
            finishing = group.create_task(self._finish(serving))
            hurry = group.create_task(hurried.wait())
            await asyncio.wait((finishing, hurry), return_when=asyncio.FIRST_COMPLETED)
            finishing.cancel()
            hurry.cancel()
        if finishing.cancelled():
            # What was acknowledged is in the store, and is sealed after the next start.
            _log.warning("drain_cut_short")
            self.gateway.abort()
            await self.grpc.stop(0)
            await serving
        _log.info("drained")

    async def _finish(self, serving: asyncio.Task[None]) -> None:
        await self.grpc.stop(self.settings.drain_seconds)
        await asyncio.wait((serving,))
        try:
            await self.witness.flush()
        except FabricError as error:
            _log.warning("decisions_left_in_the_outbox", error=str(error))


def _place(settings: Settings, adapters: Adapters, mirror: Mirror, name: str) -> Replicas:
    clock = SystemClock()
    if not adapters.shared:
        return Replicas.alone(clock)
    return Replicas.among(
        adapters.store, mirror, adapters.bus, clock, replica=name, subject=settings.subject
    )


def _attendance(
    settings: Settings, adapters: Adapters, present: Presence | None, name: str
) -> Attendance:
    if present is None:
        return Attendance(name)
    subject = f"{settings.subject}.attendance"
    attendance = Attendance(name, present, partial(adapters.bus.publish, subject))
    adapters.bus.subscribe(subject, attendance.hear)
    return attendance


async def _health(store: Store, recording: Recording) -> None:
    await store.health()
    recording.check()


async def _recording(settings: Settings, adapters: Adapters, leadership: Leadership) -> Recording:
    store, log, stream = adapters.store, adapters.log, adapters.stream
    if stream is None:
        return await Recording.alone(store, log, leadership)
    return await Recording.among(store, log, stream, leadership, adapters.bus, settings.subject)


def _service(
    module: ModuleType, add: Callable[[ServicerT, aio.Server], None], servicer: ServicerT
) -> Service:
    """Return the one service that a generated module declares, with its servicer."""
    descriptor: FileDescriptor = module.DESCRIPTOR
    (declared,) = descriptor.services_by_name.values()
    return Service(declared.full_name, lambda server: add(servicer, server))


def _bound(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address.host, address.port))
        bound.listen(1024)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise ListenError(
            f"cannot listen at {address}: {error.strerror}; stop what listens there,"
            " or choose another address"
        ) from error
    return bound
