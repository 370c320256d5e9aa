"""How long a server leaves a swarm alone whose tasks it claimed and could not run: pure."""

# As the runner waits before it tries any other refused claim again.
FIRST_SECONDS = 1.0
# Short enough for somebody who has repaired the server and waits for it to work again.
MOST_SECONDS = 32.0


class Setbacks:
    """Doubles the wait of a swarm each time: a try costs an attempt and three witness entries."""

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
