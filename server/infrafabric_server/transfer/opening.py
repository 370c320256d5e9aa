"""The place that settings name."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from infrafabric_server.bus.nats import NatsBus
from infrafabric_server.config import Settings
from infrafabric_server.store.etcd.copying import Fabric
from infrafabric_server.store.protocol import StoreUnavailable
from infrafabric_server.transfer.cluster import Cluster
from infrafabric_server.transfer.folder import Folder
from infrafabric_server.transfer.places import Place
from infrafabric_server.witness.jetstream import JetStream

# Seconds in which NATS has to answer.
_PATIENCE = 5.0


@asynccontextmanager
async def place_of(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Place]:
    """Yield the place of the fabric of `settings`; what it takes is released with the block.

    Passwords are in `environ`, or in files.

    Raises:
        StoreRefused: a file for etcd cannot be read.
        BusRefusedError: a file for NATS cannot be read.
        StoreUnavailable: NATS does not answer.
    """
    if not settings.shared:
        async with Folder(settings.data) as folder:
            yield folder
        return
    async with cluster_of(settings, environ) as cluster:
        yield cluster


@asynccontextmanager
async def cluster_of(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Cluster]:
    """Yield the place of `settings` that name etcd and NATS; see `place_of`."""
    access = settings.nats_access(environ)
    etcd = Fabric(settings.etcd_address(), settings.etcd_access(environ))
    bus = await NatsBus.open(settings.bus, access, name="infrafabric store")
    try:
        try:
            async with asyncio.timeout(_PATIENCE):
                await bus.ready()
        except TimeoutError:
            raise StoreUnavailable(
                f"no server of NATS takes our connection ({settings.bus}); see `infrafabric doctor`"
            ) from None
        log = JetStream(lambda: bus.client, settings.subject, replicas=settings.witness_replicas)
        async with Cluster(etcd, log) as cluster:
            yield cluster
    finally:
        await bus.close()
