"""Some seconds of what `python -m tests.fuzz.sandbox` does for as long as one likes."""

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.sandbox import fuzz
from tests.fuzz.wire import hear_a_worker

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


async def test_x2_no_lie_hangs_the_service_or_passes_its_bounds() -> None:
    random = Random(SEED)
    ends = {await hear_a_worker(random) for _ in range(400)}
    # The lies are good enough to get everywhere.
    assert ends == {
        f"exchange: {end}"
        for end in ("Broken", "CallDenied", "Closed", "said", "silence", "violation")
    }
