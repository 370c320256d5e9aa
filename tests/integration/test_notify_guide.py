"""What docs/notify.md shows is run, in its order, and must print what it says."""

import re
import shlex
import sys
from pathlib import Path

import yaml

from tests.harness.documents import ROOT, blocks, dead_links, shell, steps
from tests.harness.server import ServerProcess

GUIDE = (ROOT / "docs" / "notify.md").read_text()


async def test_d5_the_commands_of_the_guide_print_what_it_says(tmp_path: Path) -> None:
    (program,) = blocks(GUIDE, "python")
    (printed,) = blocks(GUIDE, "text")
    script = tmp_path / "agent.py"
    script.write_text(program)
    async with ServerProcess(tmp_path) as server:
        python = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}"
        assert await shell(python, server) == printed
        for transcript in blocks(GUIDE, "console"):
            for command, expected in steps(transcript):
                output = await shell(command, server)
                for line in expected:
                    assert line in output, f"{command} printed\n{output}"


def test_d5_the_seven_sessions_are_those_of_the_demonstration() -> None:
    fleet = yaml.safe_load((ROOT / "demo" / "fleet.yaml").read_text())
    rows = dict(re.findall(r"^\| `(session-\d-\w+)` \| `([\w,-]+)` \|$", GUIDE, re.MULTILINE))
    sessions = [each for each in fleet["sessions"] if each["id"].startswith("session-")]
    assert rows == {each["id"]: ",".join(each["capabilities"]) for each in sessions}
    assert len(rows) == 7


def test_d5_every_link_of_the_guide_leads_somewhere() -> None:
    assert dead_links(GUIDE, ROOT / "docs") == []
