"""Counting what may come in floods: pure bookkeeping, one entry per swarm and second at most."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue

# Seconds from the first of a flood to its entry, and between two entries of one swarm.
WINDOW = 1.0
# Swarms that are counted by name; who comes under ever new names is counted together.
MAX_SWARMS = 10_000
# Tasks that an entry names.
MAX_TASKS = 16


@dataclass(slots=True)
class Counted:
    """The same thing that happened to one swarm several times, to be written as one entry.

    `begin` is the monotonic time of the first, `since` and `until` are the times of day of
    the first and the last. An empty `swarm_id` stands for swarms beyond MAX_SWARMS.
    """

    operation: str
    swarm_id: str
    begin: float
    since: datetime
    until: datetime
    reasons: Counter[str] = field(default_factory=Counter)
    task_ids: dict[str, None] = field(default_factory=dict)
    more_tasks: bool = False
    written: bool = False

    @property
    def task_id(self) -> str:
        """The task, if it was always the same."""
        return next(iter(self.task_ids)) if len(self.task_ids) == 1 else ""

    @property
    def details(self) -> dict[str, JsonValue]:
        """What the entry tells: how often, why, on which tasks (the first 16), and when."""
        return {
            "count": self.reasons.total(),
            "reasons": dict(self.reasons),
            "task_ids": list(self.task_ids),
            "more_tasks": self.more_tasks,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
        }

    def add(self, task_id: str, reason: str, time: datetime) -> None:
        """Count one more."""
        self.until = time
        self.reasons[reason] += 1
        if task_id not in self.task_ids:
            if len(self.task_ids) < MAX_TASKS:
                self.task_ids[task_id] = None
            else:
                self.more_tasks = True


class Tally:
    """Counts by operation and swarm, in the order of their first one.

    A count is due one second after its first. It may be taken earlier, but never less than
    one second after that operation and swarm were taken last.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], Counted] = {}
        self._taken: dict[tuple[str, str], float] = {}

    def count(
        self, operation: str, swarm_id: str, task_id: str, reason: str, now: float, time: datetime
    ) -> None:
        """Count one at the monotonic time `now` and the time of day `time`."""
        counted = self._counts.get((operation, swarm_id))
        if counted is None:
            name = swarm_id if len(self._counts) < MAX_SWARMS else ""
            counted = self._counts.setdefault(
                (operation, name), Counted(operation, name, now, time, time)
            )
        counted.add(task_id, reason, time)

    def pending(self) -> Iterable[Counted]:
        """Return what waits to be taken."""
        return self._counts.values()

    def next_time(self, *, early: bool) -> float | None:
        """Return when the next count is due, or `early` may be taken; None without any."""
        if not self._counts:
            return None
        if early:
            return min(map(self._earliest, self._counts))
        return next(iter(self._counts.values())).begin + WINDOW

    def take(self, now: float, *, early: bool) -> list[Counted]:
        """Remove and return the counts that are due at `now`, or `early` may be taken."""
        keys = [
            key
            for key, counted in self._counts.items()
            if now >= (self._earliest(key) if early else counted.begin + WINDOW)
        ]
        self._taken = {key: time for key, time in self._taken.items() if time + WINDOW > now}
        self._taken |= dict.fromkeys(keys, now)
        return [self._counts.pop(key) for key in keys]

    def _earliest(self, key: tuple[str, str]) -> float:
        taken = self._taken.get(key)
        return self._counts[key].begin if taken is None else taken + WINDOW
