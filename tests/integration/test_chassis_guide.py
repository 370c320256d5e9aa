"""What docs/chassis.md shows is run, in its order, and must print what it says."""

import pytest

from infrafabric import Client
from infrafabric_server.chassis.contract import ResourceLimits
from infrafabric_server.chassis.models import KEPT_VIOLATIONS, ViolationKind
from infrafabric_server.chassis.modules import CHUNK_BYTES
from infrafabric_server.chassis.upkeep import KEEP_UNUSED
from tests.harness.documents import ROOT, dead_links, follow, program
from tests.harness.server import ServerProcess

GUIDE = (ROOT / "docs" / "chassis.md").read_text()


@pytest.mark.embedded
async def test_x1_d5_the_commands_of_the_guide_print_what_it_says(
    shared_server: ServerProcess,
) -> None:
    await follow(GUIDE, shared_server)


@pytest.mark.embedded
async def test_x1_d5_the_python_of_the_guide_counts(
    shared_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = program(GUIDE, "docs/chassis.md")
    monkeypatch.chdir(ROOT)
    async with Client(shared_server.grpc) as client:
        assert await names["count"](client, "a word and another") == 4


@pytest.mark.embedded
def test_x2_the_guide_names_the_limits_and_their_defaults() -> None:
    defaults = ResourceLimits()
    for name, value in defaults.model_dump(exclude={"max_execution_time"}).items():
        assert f"| `{name}` | {value} |" in GUIDE
    seconds = defaults.max_execution_time.total_seconds()
    assert f"| `max_execution_time` | {seconds:g} s |" in GUIDE
    assert all(f"`{kind}`" in GUIDE for kind in ViolationKind)
    assert f"lists the latest {KEPT_VIOLATIONS}." in GUIDE
    assert (CHUNK_BYTES, KEEP_UNUSED.total_seconds()) == (512 * 1024, 3600)


@pytest.mark.embedded
def test_every_link_of_the_guide_leads_somewhere() -> None:
    assert dead_links(GUIDE, ROOT / "docs") == []
