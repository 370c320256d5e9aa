from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Store
from infrafabric_server.store.sqlite import SqliteStore
from infrafabric_server.witness.sqlite_log import SqliteWitnessLog


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store = (
        await MemoryStore.open()
        if request.param == "memory"
        else await SqliteStore.open(tmp_path / "store")
    )
    yield opened
    await opened.close()


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteWitnessLog]:
    opened = await SqliteWitnessLog.open(tmp_path)
    yield opened
    await opened.close()
