"""Some seconds of what `python -m tests.fuzz.sandbox` does for as long as one likes."""

from pathlib import Path

import pytest

from tests.fuzz.sandbox import fuzz

SECONDS = 3.0
SEED = 7


@pytest.mark.timeout(150)
async def test_x7_nothing_that_is_said_to_the_sandbox_ends_or_holds_the_service(
    tmp_path: Path,
) -> None:
    seen = await fuzz(SECONDS, SEED, tmp_path / "modules")
    # Both sides were reached, and beyond their first check.
    assert {"exchange: said", "exchange: Broken", "guest: exit", "guest: trap"} <= {*seen}
    assert {"wire: Broken", "wire: Gone", "document: read", "worker: exit code 1"} <= {*seen}
