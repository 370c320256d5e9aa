"""What docs/credentials.md shows is run, in its order, and must print what it says."""

from pathlib import Path

import pytest

from infrafabric import Client
from infrafabric.v1.task_pb2 import Task
from infrafabric_server.chassis.credentials import models
from infrafabric_server.chassis.egress import requests
from infrafabric_server.chassis.egress.egress import LIMIT_SECONDS
from tests.harness.documents import ROOT, blocks, dead_links, follow, program
from tests.harness.server import ServerProcess

GUIDE = (ROOT / "docs" / "credentials.md").read_text()


@pytest.mark.embedded
async def test_x6_d5_the_commands_of_the_guide_print_what_it_says(
    shared_server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    await follow(GUIDE, shared_server)


@pytest.mark.embedded
async def test_x6_d5_the_python_of_the_guide_lets_in(shared_server: ServerProcess) -> None:
    names = program(GUIDE, "docs/credentials.md")
    async with Client(shared_server.grpc) as client:
        await client.swarms.register("py", ["any"])
        await client.tasks.create(Task(task_id="py"))
        attempt = (await client.claims.claim("py", "py")).task.attempt
        token = await names["token_for"](client, "py", "py", attempt)
        url = "https://api.example.org/v1/chat"
        assert await names["lets_in"](client, token, "POST", url)
        assert not await names["lets_in"](client, token, "PUT", url)


@pytest.mark.embedded
def test_x3_x6_the_guide_names_the_bounds() -> None:
    [request] = blocks(GUIDE, "json")
    assert requests.read_request(request.encode()).body == b"hello"
    assert f"| bodies | {requests.MAX_BODY_BYTES} bytes" in GUIDE
    assert f"| headers | {requests.MAX_HEADER_BYTES} bytes" in GUIDE
    assert f"{requests.MAX_HEADERS} in a request" in GUIDE
    assert f"| time | {LIMIT_SECONDS:g} s altogether" in GUIDE
    assert f"at most {models.MAX_CREDENTIALS} credentials" in GUIDE
    assert f"at most {models.MAX_ENDPOINTS} endpoints" in GUIDE
    assert f"{models.DEFAULT_TTL.total_seconds() / 60:g} minutes unless" in GUIDE
    assert f"{models.DEFAULT_TTL.total_seconds():g} unless given" in GUIDE


@pytest.mark.embedded
def test_every_link_of_the_guide_leads_somewhere() -> None:
    assert dead_links(GUIDE, ROOT / "docs") == []
