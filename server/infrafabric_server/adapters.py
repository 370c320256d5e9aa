"""Opens what a server stands on: the embedded set-up, or the one of several replicas."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from infrafabric_server.config import Settings
from infrafabric_server.store.etcd import EtcdStore
from infrafabric_server.store.protocol import Store
from infrafabric_server.store.sqlite import SqliteStore
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.sqlite_log import SqliteWitnessLog


@dataclass(frozen=True, slots=True)
class Adapters:
    """What is open; `shared` tells whether other replicas use it as well."""

    store: Store
    log: WitnessLog
    shared: bool


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Adapters]:
    """Open what the settings name, and close it at the end of the block.

    Raises StoreRefused and StoreUnavailable with what to do, and OSError.
    """
    store = await _open_store(settings)
    try:
        log = await SqliteWitnessLog.open(settings.data)
        try:
            yield Adapters(store, log, settings.shared)
        finally:
            await log.close()
    finally:
        await store.close()


async def _open_store(settings: Settings) -> Store:
    if settings.shared:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return await EtcdStore.open(settings.etcd_address(), settings.etcd_access(os.environ))
    return await SqliteStore.open(settings.data)
