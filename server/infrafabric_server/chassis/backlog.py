"""The tasks that wait to be run in the chassis, by the swarm whose module does them."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from infrafabric_server.coordinator.models import Task
from infrafabric_server.coordinator.rules import on_offer

# What decides between tasks of a swarm: higher priority, then age.
_Order = tuple[int, datetime, int, str]


class ChassisBacklog:
    """Kept up by each change of a task; the clock is the caller's.

    Always in order: sorting 100,000 tasks for each that is run would take 60 ms of the event loop.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[_Order]] = defaultdict(list)

    def __len__(self) -> int:
        return sum(len(each) for each in self._waiting.values())

    def changed(self, old: Task | None, new: Task | None, now: datetime) -> bool:
        """Take a change; tell whether a task waits by it."""
        if old is not None:
            self._remove(old)
        if new is None or not new.runs_in_chassis or not on_offer(new, now):
            return False
        insort(self._waiting[new.spec.chassis_swarm_id], _order(new))
        return True

    def swarms(self) -> list[str]:
        """Return the swarms with tasks that wait."""
        return list(self._waiting)

    def of(self, swarm_id: str) -> Iterator[str]:
        """Yield the tasks that wait for a swarm, the next one first."""
        for order in self._waiting.get(swarm_id, ()):
            yield order[-1]

    def _remove(self, task: Task) -> None:
        waiting = self._waiting.get(task.spec.chassis_swarm_id, [])
        order = _order(task)
        place = bisect_left(waiting, order)
        if waiting[place : place + 1] == [order]:
            del waiting[place]
            if not waiting:
                del self._waiting[task.spec.chassis_swarm_id]


def _order(task: Task) -> _Order:
    spec = task.spec
    return (-spec.priority, spec.create_time, spec.position, task.task_id)
