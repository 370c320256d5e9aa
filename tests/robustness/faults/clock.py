"""Wall clocks that jump, by libfaketime where it is installed; the monotonic clock is let alone.

It is the Debian package `libfaketime`. The environment variable `ROBUSTNESS_FAKETIME` names
the library where it is elsewhere. Only the servers see the wrong time: the library stands
between them and the kernel's clock, and reads the offset from a file again for each question.
"""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PLACES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
_VARIABLE = "ROBUSTNESS_FAKETIME"

# Claims that were made while the clock was ahead live so much longer after it.
_FURTHEST = 15.0


@dataclass(frozen=True, slots=True)
class SkewedClock:
    """The wall clock of one server.

    Attributes:
        file: has the offset.
        library: that reads it.
    """

    file: Path
    library: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to go by this clock."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def put(self, seconds: float) -> None:
        """Set how far it is ahead of the true time."""
        # Replaced as a whole: no question may find half of an answer.
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+.3f}\n")
        fresh.replace(self.file)


def clock_wrapper(file: Path) -> SkewedClock | None:
    """Return a true clock that can be made to jump; None without the library.

    Args:
        file: for the offset.
    """
    named = os.environ.get(_VARIABLE)
    places = [Path(named)] if named else [Path(p) / "faketime/libfaketime.so.1" for p in _PLACES]
    for library in places:
        if library.exists():
            clock = SkewedClock(file, library)
            clock.put(0.0)
            return clock
    return None


@dataclass(frozen=True, slots=True)
class ClockJump:
    """Lets the wall clock of one server jump, and jump back; see `Fault`."""

    clocks: Sequence[SkewedClock]
    domain: str = "clock"
    seconds: tuple[float, float] = (1.0, 8.0)

    async def inject(self, chance: random.Random) -> str:
        """Jump, in either direction."""
        offset = chance.uniform(-_FURTHEST, _FURTHEST)
        clock = chance.choice(self.clocks)
        clock.put(offset)
        return f"{clock.file.parent.name} {offset:+.1f} s"

    async def heal(self) -> None:
        """Jump back."""
        for clock in self.clocks:
            clock.put(0.0)
