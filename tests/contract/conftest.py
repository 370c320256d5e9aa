from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infrafabric_server.store.protocol import Store
from tests.contract.worlds import MemoryWorld, SqliteWorld, World, opened


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return MemoryWorld() if request.param == "memory" else SqliteWorld(tmp_path / "data")


@pytest.fixture
async def store(world: World) -> AsyncIterator[Store]:
    async with opened(world) as store:
        yield store
