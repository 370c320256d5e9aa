"""What docs/commands.md shows is run, in its order, and must print what it says."""

import re
from pathlib import Path

import pytest

from infrafabric_cli import exit_codes
from tests.harness.documents import ROOT, dead_links, follow
from tests.harness.server import ServerProcess

GUIDE = (ROOT / "docs" / "commands.md").read_text()


@pytest.mark.embedded
async def test_u3_the_commands_of_the_guide_print_what_it_says(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        await follow(GUIDE, server)


@pytest.mark.embedded
def test_u3_the_guide_lists_every_exit_code() -> None:
    assert dict(re.findall(r"^\| (\d+) \| (.+) \|$", GUIDE, re.MULTILINE)) == dict(
        re.findall(r"^    (\d+) +(.+)$", exit_codes.__doc__ or "", re.MULTILINE)
    )


@pytest.mark.embedded
def test_u3_every_link_of_the_guide_leads_somewhere() -> None:
    assert dead_links(GUIDE, ROOT / "docs") == []
