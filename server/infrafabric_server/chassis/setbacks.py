"""For how long a server lets a swarm wait that it claimed tasks for and could not run: pure."""

# As long as another try of what no view tells the end of.
FIRST_SECONDS = 1.0
# By then whoever mended something does not wait for long.
MOST_SECONDS = 32.0


class Setbacks:
    """Twice as long after each time, until it works: each try is an attempt and three entries."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def seconds(self, swarm_id: str) -> float:
        """Return for how long a swarm waits this time."""
        now = self._next.get(swarm_id, FIRST_SECONDS)
        self._next[swarm_id] = min(MOST_SECONDS, 2 * now)
        return now

    def forget(self, swarm_id: str) -> None:
        """Begin anew: it works, or something has changed."""
        self._next.pop(swarm_id, None)
