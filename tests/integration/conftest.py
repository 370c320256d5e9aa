"""Fixtures that several integration tests share."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.harness.server import ServerProcess


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests of a module, which keep out of each other's way by their ids."""
    server = ServerProcess(tmp_path_factory.mktemp("server"))
    with asyncio.Runner() as runner:
        runner.run(server.start())
        yield server
        runner.run(server.kill())
