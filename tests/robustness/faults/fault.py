"""What every fault is."""

import random
from typing import Protocol


class Fault(Protocol):
    """Something that goes wrong for a while; it is injected and healed in turn."""

    @property
    def domain(self) -> str:
        """What it is done to: two faults of one domain never overlap."""
        ...

    @property
    def seconds(self) -> tuple[float, float]:
        """How long it lasts, at least and at most."""
        ...

    async def inject(self, chance: random.Random) -> str:
        """Let it begin; return what was done, for the history."""
        ...

    async def heal(self) -> None:
        """Undo it."""
        ...
