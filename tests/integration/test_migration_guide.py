"""What docs/migration.md shows is run, in its order, and must print what it says."""

from pathlib import Path

from tests.harness.documents import ROOT, blocks, shell, steps
from tests.harness.server import ServerProcess

GUIDE = (ROOT / "docs" / "migration.md").read_text()


async def test_d5_the_migration_goes_as_the_guide_says(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        here = f"cd {tmp_path}\n"
        (table,) = blocks(GUIDE, "sh")
        await shell(here + table, server)
        for transcript in blocks(GUIDE, "console"):
            for command, expected in steps(transcript):
                output = await shell(here + command, server)
                for line in filter(None, expected):
                    assert line in output, f"{command} printed\n{output}"
        assert '"agents"' in (tmp_path / "STATUS.json").read_text()
