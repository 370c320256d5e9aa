"""Whatever a server writes to standard error is a line of JSON: collectors read it line by line."""

import json
import os
from pathlib import Path

import pytest

from infrafabric import Client, Session
from tests.harness.documents import shell
from tests.harness.server import ServerFailedError, ServerProcess


@pytest.fixture(autouse=True)
def as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what silences gRPC in the tests' own processes."""
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)


def events(log: str) -> list[str]:
    """Return what the lines of a log tell; raises ValueError when one is not JSON."""
    return [json.loads(line)["event"] for line in log.splitlines()]


@pytest.mark.embedded
async def test_u3_every_line_of_a_servers_log_is_json(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        async with Session(server.grpc, swarm_id="s") as session, Client(server.grpc) as client:
            await session.opened()
            await client.swarms.register("t", ["any"])
        listed = await shell("grpcurl -plaintext localhost:50051 list", server)
        assert "infrafabric.v1.CoordinatorService" in listed
        # The one of TypeScript says goodbye to the transport, of which gRPC likes to tell.
        leave = "node clients/typescript/dist/cli/main.js notify idle --swarm u"
        assert "u is idle" in await shell(f"{leave}; curl -s localhost:8765/status", server)
        assert await server.stop() == 0
    assert {"draining", "drained"} <= {*events(server.log)}


@pytest.mark.embedded
async def test_u3_a_port_in_use_is_told_as_json(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    async with ServerProcess(tmp_path) as server:
        second = ServerProcess(tmp_path / "second", arguments=["--grpc", server.grpc])
        with pytest.raises(ServerFailedError):
            await second.start()
    assert "refused_to_start" in events(second.log)


@pytest.mark.embedded
async def test_u3_who_asks_for_the_lines_of_grpc_gets_them(tmp_path: Path) -> None:
    asked = {**os.environ, "GRPC_VERBOSITY": "debug"}
    async with ServerProcess(tmp_path, environment=asked) as server:
        assert await server.stop() == 0
    with pytest.raises(ValueError, match="Expecting value"):
        events(server.log)
