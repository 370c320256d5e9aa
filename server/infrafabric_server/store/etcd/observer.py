"""What the adapter tells of its work, for metrics."""

from typing import Protocol


class Observer(Protocol):
    """Hears of the adapter's work, in the event loop; it must return at once."""

    def batch(self, members: int, postponed: int, conflicts: int, seconds: float) -> None:
        """Take notice of an answered batch.

        `members` shared it, `postponed` were left for a later one as it was full or they touch
        the same keys, the compares of `conflicts` did not hold, and it took `seconds`.
        """
        ...

    def uncertain(self, seconds: float, *, applied: bool) -> None:
        """Take notice that the unknown outcome of a batch was found out after `seconds`."""
        ...

    def watch_lag(self, revisions: int) -> None:
        """Take notice of how far a watch was behind the newest known revision."""
        ...

    def lease_slack(self, seconds: float) -> None:
        """Take notice of the least time that a lease had left when it was renewed."""
        ...


class NoObserver:
    """Hears nothing."""

    def batch(self, members: int, postponed: int, conflicts: int, seconds: float) -> None:
        """Forget it."""

    def uncertain(self, seconds: float, *, applied: bool) -> None:
        """Forget it."""

    def watch_lag(self, revisions: int) -> None:
        """Forget it."""

    def lease_slack(self, seconds: float) -> None:
        """Forget it."""
