"""Swarms and tasks that are not to be brought together for now: in memory, without I/O."""

from collections import defaultdict
from collections.abc import Collection
from itertools import islice

MAX_PAIRS = 65_536
"""Most pairs of one kind: some 20 MB of them."""


class Pairs:
    """A set of pairs of a swarm and a task, found and forgotten by either.

    It has at most so many: a new one drops the oldest, which is tried again some time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pairs: dict[tuple[str, str], None] = {}
        self._tasks: defaultdict[str, set[str]] = defaultdict(set)
        self._swarms: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._pairs)

    def add(self, swarm_id: str, task_id: str) -> None:
        """Enter a pair, or make one that is there the youngest."""
        self._pairs.pop((swarm_id, task_id), None)
        if len(self._pairs) >= self._most:
            self._discard(*next(iter(self._pairs)))
        self._pairs[swarm_id, task_id] = None
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
        for task_id in list(self.tasks(swarm_id)):
            self._discard(swarm_id, task_id)

    def forget_task(self, task_id: str) -> None:
        """Forget all pairs of a task."""
        for swarm_id in list(self.swarms(task_id)):
            self._discard(swarm_id, task_id)

    def _discard(self, swarm_id: str, task_id: str) -> None:
        del self._pairs[swarm_id, task_id]
        for names, name, other in (
            (self._tasks, swarm_id, task_id),
            (self._swarms, task_id, swarm_id),
        ):
            names[name].discard(other)
            if not names[name]:
                del names[name]


class Searches:
    """What unfinished searches have tried, by the swarm or the task that they are for.

    A search that is kept goes on where it was, whatever pairs are forgotten meanwhile, so that
    each comes to an end and none goes round. There are few at a time; others begin anew.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tried: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._tried)

    def names(self, limit: int | None) -> list[str]:
        """Return whose searches are kept, at most `limit`."""
        return list(islice(self._tried, limit))

    def resume(self, name: str) -> set[str]:
        """Return what was tried before, which is kept no longer."""
        return self._tried.pop(name, set())

    def keep(self, name: str, tried: set[str]) -> bool:
        """Keep what was tried until the search goes on; return whether there is room for it."""
        room = name in self._tried or len(self._tried) < self._most
        if room:
            self._tried[name] = tried
        return room

    def try_again(self, other: str) -> None:
        """Have all searches try something that they tried before."""
        for tried in self._tried.values():
            tried.discard(other)

    def restart(self, name: str) -> None:
        """Have one search try everything again."""
        if name in self._tried:
            self._tried[name] = set()

    def restart_all(self) -> None:
        """Have all searches try everything again."""
        self._tried = {name: set() for name in self._tried}
