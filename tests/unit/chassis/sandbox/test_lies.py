"""X2: whatever a worker sends, the service comes to an end with it and keeps little of it."""

import random

from tests.harness.lying import hear, lie


async def test_x2_no_lie_hangs_the_service_or_passes_its_bounds() -> None:
    chance = random.Random(5)
    ends = {await hear(lie(chance)) for _ in range(400)}
    # The lies are good enough to get everywhere.
    assert ends == {"Broken", "Closed", "CallDenied", "violation", "ended"}
