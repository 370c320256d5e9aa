from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from infrafabric_server.store.protocol import Store
from tests.contract.worlds import EtcdWorld, MemoryWorld, SqliteWorld, World, opened
from tests.harness.etcd import Etcd


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


@pytest.fixture(scope="session")
def prefixes() -> Iterator[int]:
    return count()


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def world(request: pytest.FixtureRequest, tmp_path: Path, prefixes: Iterator[int]) -> World:
    match request.param:
        case "memory":
            return MemoryWorld()
        case "sqlite":
            return SqliteWorld(tmp_path / "data")
        case _:
            return EtcdWorld(request.getfixturevalue("etcd"), f"test-{next(prefixes)}")


@pytest.fixture
async def store(world: World) -> AsyncIterator[Store]:
    async with opened(world) as store:
        yield store
