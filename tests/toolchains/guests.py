"""What docs/guests.md shows for compilers that the tests do not install: `make guests`."""

from pathlib import Path

from tests.harness.documents import ROOT, try_out


def test_x1_go_and_rust_programs_are_guests(tmp_path: Path) -> None:
    page = (ROOT / "docs/guests.md").read_text()
    assert try_out(page, "toolchain", tmp_path) == 4
