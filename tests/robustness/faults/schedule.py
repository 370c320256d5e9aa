"""Which fault comes when: all of it from the seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from tests.robustness.faults.fault import Fault

# Between two faults that come one at a time, so that the fleet is at work when it is hit.
_PAUSE = (0.3, 2.0)
# The same where they overlap, for each thing that they are done to.
_LONGER_PAUSE = (0.5, 6.0)
# A part of the run in which faults come one at a time; in the rest several may overlap.
_ALONE = 0.6


@dataclass(frozen=True, slots=True)
class Event:
    """A fault with its beginning and its end, in seconds from the start of the traffic."""

    name: str
    start: float
    end: float


def schedule(faults: Mapping[str, Fault], seconds: float, chance: random.Random) -> list[Event]:
    """Return the faults of a run in the order of their beginnings; each ends within it.

    Args:
        faults: by name.
        seconds: that the traffic lasts.
        chance: decides.
    """
    events = _one_at_a_time(faults, seconds * _ALONE, chance)
    begin = max([seconds * _ALONE, *(event.end for event in events)])
    for domain in sorted({fault.domain for fault in faults.values()}):
        among = {name: fault for name, fault in faults.items() if fault.domain == domain}
        events += _in_turn(among, _LONGER_PAUSE, begin, seconds, chance)
    return sorted(events, key=lambda event: event.start)


def _one_at_a_time(
    faults: Mapping[str, Fault], seconds: float, chance: random.Random
) -> list[Event]:
    """Each fault once before any comes again."""
    return _in_turn(faults, _PAUSE, 0.0, seconds, chance)


def _in_turn(
    faults: Mapping[str, Fault],
    pause: tuple[float, float],
    begin: float,
    end: float,
    chance: random.Random,
) -> list[Event]:
    order = _shuffled(faults, chance)
    events: list[Event] = []
    at = begin
    while order:
        for name in order:
            at += chance.uniform(*pause)
            lasts = chance.uniform(*faults[name].seconds)
            if at + lasts > end:
                return events
            events.append(Event(name, at, at + lasts))
            at += lasts
    return events


def _shuffled(faults: Mapping[str, Fault], chance: random.Random) -> list[str]:
    names = sorted(faults)
    chance.shuffle(names)
    return names
