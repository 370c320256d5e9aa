"""Who is told of what a Mirror does."""

from collections.abc import Callable, Sequence
from typing import Protocol

from infrafabric_server.store.protocol import WatchBatch
from infrafabric_server.store.view import Write

# Hears of an own commit.
Announcer = Callable[[int, Sequence[Write]], None]


class Follower(Protocol):
    """Hears of every revision that the views hold, in order."""

    def take(self, batch: WatchBatch) -> None:
        """Take the next revision; the views hold it already."""
        ...

    def start_over(self, revision: int) -> None:
        """Take notice that the views were loaded at `revision`; what came before is unknown."""
        ...

    def end(self, failure: Exception) -> None:
        """Take notice that nothing follows, and why."""
        ...
