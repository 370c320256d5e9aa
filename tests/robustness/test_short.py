"""A short run on each set-up: what the program does for as long as one likes, for every change."""

from pathlib import Path

import pytest

from tests.robustness.check import judge
from tests.robustness.run import Plan, run

SECONDS = 4.0
SEED = 3
FAULTS = {
    "embedded": ("kill", "cut", "disk-full"),
    "distributed": ("kill", "store-cut", "etcd-kill", "nats-kill"),
}


@pytest.mark.timeout(150)
@pytest.mark.parametrize("setup", FAULTS)
async def test_u6_nothing_is_broken_by_some_seconds_of_faults(setup: str, tmp_path: Path) -> None:
    evidence = await run(Plan(setup, SECONDS, SEED, FAULTS[setup]), tmp_path)
    assert judge(evidence) == []
    assert {str(seen.fields["name"]) for seen in evidence.seen("fault")} <= {*FAULTS[setup]}
    for kind in ("complete", "cost"):
        assert sum(operation.acknowledged for operation in evidence.of_kind(kind)) > 0
