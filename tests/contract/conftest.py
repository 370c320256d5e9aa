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
def crashing_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """An etcd for tests that open a store again: it crashes in between.

    One that was sent an entry of 64 MiB cannot read its own log any more (the release of the
    tests reads 10 MiB), so it is not the one of all the other tests.
    """
    with Etcd(tmp_path_factory.mktemp("crashing-etcd")) as etcd:
        yield etcd


@pytest.fixture(scope="session")
def prefixes() -> Iterator[int]:
    return count()


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, prefixes: Iterator[int]
) -> Iterator[World]:
    match request.param:
        case "memory":
            yield MemoryWorld()
        case "sqlite":
            yield SqliteWorld(tmp_path / "data")
        case _:
            name = "etcd" if "store" in request.fixturenames else "crashing_etcd"
            etcd, prefix = request.getfixturevalue(name), f"test-{next(prefixes)}"
            yield EtcdWorld(etcd, prefix)
            # The end of a lease that has keys would count as a revision in the next test.
            etcd.clear(prefix)


@pytest.fixture
async def store(world: World) -> AsyncIterator[Store]:
    async with opened(world) as store:
        yield store
