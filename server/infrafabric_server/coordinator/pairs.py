"""Swarms and tasks that are not to be brought together for now: in memory, without I/O."""

from collections import defaultdict
from collections.abc import Collection


class Pairs:
    """A set of pairs of a swarm and a task, found and forgotten by either."""

    def __init__(self) -> None:
        self._tasks: defaultdict[str, set[str]] = defaultdict(set)
        self._swarms: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, swarm_id: str, task_id: str) -> None:
        """Enter a pair."""
        self._tasks[swarm_id].add(task_id)
        self._swarms[task_id].add(swarm_id)

    def tasks(self, swarm_id: str) -> Collection[str]:
        """Return the tasks that a swarm is not to have."""
        return self._tasks.get(swarm_id, ())

    def swarms(self, task_id: str) -> Collection[str]:
        """Return the swarms that are not to have a task."""
        return self._swarms.get(task_id, ())

    def forget_swarm(self, swarm_id: str) -> None:
        """Forget all pairs of a swarm."""
        _forget(self._tasks, self._swarms, swarm_id)

    def forget_task(self, task_id: str) -> None:
        """Forget all pairs of a task."""
        _forget(self._swarms, self._tasks, task_id)


def _forget(
    ours: defaultdict[str, set[str]], theirs: defaultdict[str, set[str]], name: str
) -> None:
    for other in ours.pop(name, ()):
        theirs[other].discard(name)
        if not theirs[other]:
            del theirs[other]
