"""What docs/breakers.md shows is run, in its order, and must print what it says."""

from pathlib import Path

import pytest

from infrafabric_server.governor.policy.models import Breaking
from tests.harness.documents import ROOT, dead_links, follow
from tests.harness.server import ServerProcess

GUIDE = (ROOT / "docs" / "breakers.md").read_text()


@pytest.mark.embedded
async def test_g6_the_commands_of_the_guide_print_what_it_says(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        await follow(GUIDE, server)


@pytest.mark.embedded
def test_g6_the_guide_names_the_defaults_of_the_policy() -> None:
    defaults = Breaking()
    assert f"`max_consecutive_failures`, {defaults.max_consecutive_failures} |" in GUIDE
    assert f"`max_failure_rate`, {defaults.max_failure_rate} |" in GUIDE
    assert f"`min_calls` ({defaults.min_calls})" in GUIDE
    assert defaults.max_slow_rate is None
    assert defaults.max_cost_per_minute_micros is None
    assert f"`halt_grace`, {defaults.halt_grace.seconds}\n" in GUIDE
    assert f"`slow_after`, {defaults.slow_after.seconds // 60} minutes" in GUIDE
    assert f"`window` ({defaults.window.seconds // 3600} hour)" in GUIDE


@pytest.mark.embedded
def test_g6_every_link_of_the_guide_leads_somewhere() -> None:
    assert dead_links(GUIDE, ROOT / "docs") == []
