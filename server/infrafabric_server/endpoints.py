"""What is served: the gRPC services and the HTTP gateway over the parts that decide."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TypeVar

from google.protobuf.descriptor import FileDescriptor
from grpc import aio
from prometheus_client import CollectorRegistry

from infrafabric.v1 import (
    chassis_service_pb2,
    coordinator_service_pb2,
    governor_service_pb2,
    notify_service_pb2,
    witness_service_pb2,
)
from infrafabric.v1.chassis_service_pb2_grpc import add_ChassisServiceServicer_to_server
from infrafabric.v1.coordinator_service_pb2_grpc import add_CoordinatorServiceServicer_to_server
from infrafabric.v1.governor_service_pb2_grpc import add_GovernorServiceServicer_to_server
from infrafabric.v1.notify_service_pb2_grpc import add_NotifyServiceServicer_to_server
from infrafabric.v1.witness_service_pb2_grpc import add_WitnessServiceServicer_to_server
from infrafabric_server.chassis.service.servicer import ChassisServicer
from infrafabric_server.components import Components
from infrafabric_server.config import Address, Settings
from infrafabric_server.coordinator.service.servicer import CoordinatorServicer
from infrafabric_server.edge.grpc_server import GrpcServer, ListenError, Service
from infrafabric_server.gateway.app import create_app
from infrafabric_server.gateway.events import Events
from infrafabric_server.gateway.server import GatewayServer
from infrafabric_server.governor.service.servicer import GovernorServicer
from infrafabric_server.notify.service import NotifyService, StatusFrames
from infrafabric_server.notify.watch import StatusWatch
from infrafabric_server.store.feed import Feed
from infrafabric_server.store.protocol import Store
from infrafabric_server.witness.recording import Recording
from infrafabric_server.witness.service import WitnessService

ServicerT = TypeVar("ServicerT")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The two servers of a replica, not yet started; made by `over`."""

    grpc: GrpcServer
    gateway: GatewayServer

    @classmethod
    def over(
        cls,
        settings: Settings,
        store: Store,
        components: Components,
        registry: CollectorRegistry,
    ) -> "Endpoints":
        """Connect both over views that are loaded; the HTTP port is bound from then on.

        Raises ListenError.
        """
        mirror, fleet = components.mirror, components.fleet
        broadcasts = components.parts.coordinator.records.broadcasts
        watched = Feed(store, mirror, [fleet.statuses, fleet.swarms, broadcasts])
        statuses = StatusWatch(watched, fleet, components.notify.see)
        grpc = GrpcServer(
            str(settings.grpc),
            _services(store, components, statuses),
            registry,
            catch_up=mirror.catch_up if mirror.shared else None,
        )
        events = Events(statuses)
        app = create_app(
            components.notify,
            events,
            components.parts.coordinator.placing,
            health=partial(_health, store, components.recording),
            registry=registry,
            is_draining=lambda: grpc.draining,
            catch_up=mirror.catch_up,
            loopback=True,
        )
        return cls(grpc, GatewayServer(app, events, _bound(settings.http)))


def _services(store: Store, components: Components, statuses: StatusWatch) -> list[Service]:
    coordinator, governor = components.parts.coordinator, components.governor
    tasks = Feed(store, components.mirror, [coordinator.records.tasks])
    escalations = Feed(store, components.mirror, [components.escalation.desk.records.escalations])
    return [
        _service(
            coordinator_service_pb2,
            add_CoordinatorServiceServicer_to_server,
            CoordinatorServicer(coordinator, tasks, StatusFrames(components.notify)),
        ),
        _service(
            notify_service_pb2,
            add_NotifyServiceServicer_to_server,
            NotifyService(components.notify, statuses),
        ),
        _service(
            governor_service_pb2,
            add_GovernorServiceServicer_to_server,
            GovernorServicer(
                governor.governor,
                governor.budgets,
                governor.cost_reports,
                components.escalation.desk,
                escalations,
                breakers=governor.breakers,
                policy=components.policy,
                agreement=components.agreement,
                help_requests=coordinator.help_requests,
                finish=coordinator.background.finish,
            ),
        ),
        _service(
            chassis_service_pb2,
            add_ChassisServiceServicer_to_server,
            ChassisServicer(
                components.chassis.standing_reports,
                components.chassis.chassis,
                components.chassis.credentials,
            ),
        ),
        _service(
            witness_service_pb2,
            add_WitnessServiceServicer_to_server,
            WitnessService(components.witness),
        ),
    ]


def _service(
    module: ModuleType, add: Callable[[ServicerT, aio.Server], None], servicer: ServicerT
) -> Service:
    """Return the one service that a generated module declares, with its servicer."""
    descriptor: FileDescriptor = module.DESCRIPTOR
    (declared,) = descriptor.services_by_name.values()
    return Service(declared.full_name, lambda server: add(servicer, server))


async def _health(store: Store, recording: Recording) -> None:
    await store.health()
    recording.check()


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
