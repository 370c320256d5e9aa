"""Two replicas over the in-memory store."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.replicas import Cluster, running_cluster


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Return two replicas; `anna` leads."""
    async with running_cluster("anna", "bert") as running:
        yield running
