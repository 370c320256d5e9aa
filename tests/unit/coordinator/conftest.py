"""Fabrics over the in-memory store."""

from collections.abc import AsyncIterator

import pytest

from infrafabric_server.coordinator.build import Limits
from infrafabric_server.store.memory import MemoryStore
from tests.harness.fabric import Fabric, running_fabric
from tests.harness.replicas import Cluster, running_cluster


@pytest.fixture
async def fabric() -> AsyncIterator[Fabric]:
    """Return a running coordinator."""
    store = await MemoryStore.open()
    async with running_fabric(store, limits=Limits(lease=60.0)) as running:
        yield running
    await store.close()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Return two replicas; `anna` leads."""
    async with running_cluster("anna", "bert") as running:
        yield running
