"""Opens what a server stands on: the embedded set-up, or the one of several replicas."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from infrafabric_server.bus.local import Hub, LocalBus
from infrafabric_server.bus.nats import NatsBus
from infrafabric_server.bus.protocol import Bus
from infrafabric_server.config import Settings
from infrafabric_server.edge.bus_metrics import BusMetrics
from infrafabric_server.edge.store_metrics import StoreMetrics
from infrafabric_server.store.etcd import EtcdStore
from infrafabric_server.store.protocol import Store
from infrafabric_server.store.sqlite import SqliteStore
from infrafabric_server.witness.jetstream import JetStream
from infrafabric_server.witness.log_copy import CopyFile
from infrafabric_server.witness.sqlite_log import SqliteWitnessLog
from infrafabric_server.witness.stream import LogStream


@dataclass(frozen=True, slots=True)
class Adapters:
    """What is open. With several replicas, `stream` is the witness log and `log` a copy of it."""

    store: Store
    bus: Bus
    log: CopyFile
    stream: LogStream | None

    @property
    def shared(self) -> bool:
        """Whether other replicas use it as well."""
        return self.stream is not None


@asynccontextmanager
async def opened(settings: Settings, registry: CollectorRegistry) -> AsyncIterator[Adapters]:
    """Open what the settings name, and close it at the end of the block.

    `registry` shows how etcd and NATS do. Raises StoreRefused, StoreDenied, StoreUnavailable and
    BusRefusedError with what to do, and OSError.
    """
    async with AsyncExitStack() as stack:
        store = await _open_store(settings, registry)
        stack.push_async_callback(store.close)
        bus, stream = await _open_bus(settings)
        stack.push_async_callback(bus.close)
        if stream is not None:
            BusMetrics(bus, registry)
        log = await SqliteWitnessLog.open(settings.data, copy=settings.shared)
        stack.push_async_callback(log.close)
        yield Adapters(store, bus, log, stream)


async def _open_bus(settings: Settings) -> tuple[Bus, LogStream | None]:
    if not settings.shared:
        return LocalBus(Hub()), None
    access = settings.nats_access(os.environ)
    bus = await NatsBus.open(settings.bus, access, name=f"infrafabric {settings.grpc}")
    replicas = settings.witness_replicas
    return bus, JetStream(lambda: bus.client, settings.subject, replicas=replicas)


async def _open_store(settings: Settings, registry: CollectorRegistry) -> Store:
    if settings.shared:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        address, access = settings.etcd_address(), settings.etcd_access(os.environ)
        return await EtcdStore.open(address, access, observer=StoreMetrics(registry))
    return await SqliteStore.open(settings.data)
