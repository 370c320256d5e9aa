"""The schedule of faults comes from the seed alone."""

import random
from collections import defaultdict
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tests.robustness.faults.schedule import Event, schedule


@dataclass(frozen=True, slots=True)
class Harmless:
    """A fault that is never injected here."""

    domain: str
    seconds: tuple[float, float] = (0.5, 3.0)

    async def inject(self, _chance: random.Random) -> str:
        return ""

    async def heal(self) -> None:
        return


FAULTS = {
    "kill": Harmless("servers"),
    "freeze": Harmless("servers", (1.0, 6.0)),
    "cut": Harmless("network"),
    "jump": Harmless("clock"),
}


def planned(seed: int, seconds: float) -> list[Event]:
    return schedule(FAULTS, seconds, random.Random(seed))


@given(seed=st.integers(0, 2**32), seconds=st.floats(1.0, 300.0))
def test_u6_faults_end_with_the_run_and_never_overlap_in_one_domain(
    seed: int, seconds: float
) -> None:
    events = planned(seed, seconds)
    assert events == planned(seed, seconds)
    ends: defaultdict[str, float] = defaultdict(float)
    for event in events:
        domain = FAULTS[event.name].domain
        assert ends[domain] <= event.start < event.end <= seconds
        ends[domain] = event.end


def test_u6_every_fault_comes_alone_and_together_with_others() -> None:
    events = planned(1, 120.0)
    alone = [
        event
        for event in events
        if not any(
            other is not event and other.start < event.end and event.start < other.end
            for other in events
        )
    ]
    assert {event.name for event in alone} == {*FAULTS}
    assert len(alone) < len(events)


def test_u6_without_faults_nothing_is_planned() -> None:
    assert schedule({}, 60.0, random.Random(1)) == []
