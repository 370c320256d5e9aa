"""Every test of a server runs on both set-ups, unless it is about one of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from infrafabric import Client
from tests.harness import setups
from tests.harness.cluster import Backing
from tests.harness.server import ServerProcess
from tests.harness.setups import Setup
from tests.integration.commands import Cli, commands

_HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark of tests that are about the files of the embedded store."""
    config.addinivalue_line("markers", "embedded: runs on the embedded set-up only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of this folder on every set-up; those of its subfolders choose themselves."""
    if metafunc.definition.path.parent == _HERE:
        marked = metafunc.definition.get_closest_marker("embedded")
        chosen = [Setup.EMBEDDED] if marked else list(Setup)
        metafunc.parametrize("setup", chosen, indirect=True, scope="module")


@pytest.fixture(scope="session")
def backing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backing]:
    """One etcd and one NATS for all tests of a worker; each has fabrics of its own on them."""
    with Backing(tmp_path_factory.mktemp("backing")) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def setup(request: pytest.FixtureRequest) -> Iterator[Setup]:
    """Have servers stand on one set-up."""
    wanted: Setup = getattr(request, "param", Setup.EMBEDDED)
    with pytest.MonkeyPatch.context() as patch:
        if wanted is Setup.DISTRIBUTED:
            backing: Backing = request.getfixturevalue("backing")
            endpoints = backing.etcd.address().endpoints
            for name, value in setups.variables(endpoints, backing.nats.address).items():
                patch.setenv(name, value)
        yield wanted


@pytest.fixture(scope="module")
def shared_server(
    setup: Setup, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """One server for all tests of a module, which keep out of each other's way by their ids."""
    server = ServerProcess(tmp_path_factory.mktemp(f"server-{setup}"))
    with asyncio.Runner() as runner:
        runner.run(server.start())
        yield server
        runner.run(server.kill())


@pytest.fixture
def cli(shared_server: ServerProcess) -> Cli:
    """Run commands on the shared server."""
    return commands(shared_server)


@pytest.fixture
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ServerProcess]:
    """One server for the test alone; its parameter is the lease of sessions, in seconds."""
    lease: str = getattr(request, "param", "3")
    async with ServerProcess(tmp_path, environment={"INFRAFABRIC_LEASE_SECONDS": lease}) as it:
        yield it


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[Client]:
    """Return a client of the test's own server."""
    async with Client(server.grpc) as it:
        yield it
