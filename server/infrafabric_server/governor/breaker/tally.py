"""Attempts that ended well, counted in memory: a write for each would be too many."""

from collections import defaultdict, deque
from datetime import datetime, timedelta

from infrafabric_server.governor.breaker.models import Outcome

# Kept for one swarm; older ones are forgotten. No policy can ask for more attempts than that.
_MOST = 1_000


class Tally:
    """What every swarm has done well since its breaker was written last.

    Each replica sees every attempt that ends, and after a start those of the last hour again, as
    ended tasks stay in the views for so long.
    """

    def __init__(self) -> None:
        self._done: defaultdict[str, deque[tuple[int, datetime]]] = defaultdict(
            lambda: deque(maxlen=_MOST)
        )

    def add(self, swarm_id: str, revision: int, time: datetime) -> None:
        """Note an attempt that ended well at a revision."""
        self._done[swarm_id].append((revision, time))

    def between(self, swarm_id: str, after: int, until: int) -> list[Outcome]:
        """Return what ended well after one revision, up to another one."""
        done = self._done.get(swarm_id, ())
        return [Outcome(time=time, calls=1) for seen, time in done if after < seen <= until]

    def forget(self, swarm_id: str, until: int) -> None:
        """Forget what is counted elsewhere now: all up to a revision."""
        done = self._done.get(swarm_id)
        if done is None:
            return
        left = [each for each in done if each[0] > until]
        if left:
            self._done[swarm_id] = deque(left, maxlen=_MOST)
        else:
            del self._done[swarm_id]

    def drop(self, swarm_id: str) -> None:
        """Forget a swarm that is not registered any more."""
        self._done.pop(swarm_id, None)

    def fade(self, swarm_id: str, now: datetime, span: timedelta) -> None:
        """Forget what is older than the window."""
        done = self._done.get(swarm_id)
        while done and done[0][1] < now - span:
            done.popleft()
        if done is not None and not done:
            del self._done[swarm_id]
