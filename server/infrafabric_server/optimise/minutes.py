"""What was spent in the last minute, by swarm."""

import heapq
from collections import Counter
from datetime import datetime

SECONDS = 60


class Minutes:
    """Sums over a sliding minute, in steps of whole seconds."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()
        self._parts: Counter[tuple[int, str]] = Counter()
        # Those of `_parts`, the earliest first.
        self._order: list[tuple[int, str]] = []

    def add(self, swarm_id: str, time: datetime, micros: int, now: datetime) -> None:
        """Note what a swarm spent at a time; `now` tells what is over."""
        part = (int(time.timestamp()), swarm_id)
        if part not in self._parts:
            heapq.heappush(self._order, part)
        self._parts[part] += micros
        self._sums[swarm_id] += micros
        self._forget(now)

    def spent(self, swarm_id: str, now: datetime) -> int:
        """Return what a swarm spent in the second of `now` and the 59 before, and after it."""
        self._forget(now)
        return self._sums[swarm_id]

    def _forget(self, now: datetime) -> None:
        oldest = int(now.timestamp()) - SECONDS
        while self._order and self._order[0][0] <= oldest:
            part = heapq.heappop(self._order)
            swarm_id = part[1]
            self._sums[swarm_id] -= self._parts.pop(part)
            if not self._sums[swarm_id]:
                del self._sums[swarm_id]
