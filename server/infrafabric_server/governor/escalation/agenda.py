"""A schedule in memory: which name is due at what time."""

import heapq
from datetime import datetime

# Replaced moments stay in the heap until they are this many and outnumber the live ones.
_SLACK = 64


class Agenda:
    """Names with one time each; the earliest is taken first."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, str]] = []
        self._times: dict[str, datetime] = {}

    def __len__(self) -> int:
        return len(self._times)

    def set(self, name: str, time: datetime | None) -> None:
        """Schedule `name` for a time instead of the one that it has; None takes it off."""
        if time is None:
            self._times.pop(name, None)
            return
        if self._times.get(name) == time:
            return
        self._times[name] = time
        heapq.heappush(self._heap, (time, name))
        if len(self._heap) > _SLACK + 2 * len(self._times):
            self._heap = [(time, name) for name, time in self._times.items()]
            heapq.heapify(self._heap)

    def first(self) -> tuple[datetime, str] | None:
        """Return the earliest moment and whose it is; None when there is none."""
        while self._heap:
            time, name = self._heap[0]
            if self._times.get(name) == time:
                return time, name
            heapq.heappop(self._heap)
        return None

    def take(self, now: datetime) -> str | None:
        """Return one whose moment has come, and forget its moment; None when there is none."""
        first = self.first()
        if first is None or first[0] > now:
            return None
        heapq.heappop(self._heap)
        del self._times[first[1]]
        return first[1]
