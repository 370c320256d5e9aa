"""What swarms are worth by what they have done: the port through which the ranking asks."""

from collections.abc import Callable
from typing import Protocol


class Reputations(Protocol):
    """The reputations by which swarms are ranked."""

    def of(self, swarm_id: str) -> float:
        """Return the reputation of a swarm, above 0 and at most 1, in steps of 1/1024."""
        ...

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with each swarm whose reputation changes, in the event loop.

        It must not wait or raise.
        """
        ...


class Alike:
    """The reputations of a fabric that judges nobody: 1 for all."""

    def of(self, _swarm_id: str) -> float:
        """See Reputations."""
        return 1.0

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """See Reputations: nothing ever changes."""
