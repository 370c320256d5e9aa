"""The tasks that wait to be run in the chassis, by the swarm whose module does them."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from infrafabric_server.coordinator.models import Task
from infrafabric_server.coordinator.rules import on_offer

# What decides between tasks of a swarm: higher priority, then age.
_Order = tuple[int, datetime, int, str]


class ChassisBacklog:
    """Kept up by each change of a task; the clock is the caller's."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, dict[str, _Order]] = defaultdict(dict)

    def __len__(self) -> int:
        return sum(len(each) for each in self._waiting.values())

    def changed(self, old: Task | None, new: Task | None, now: datetime) -> bool:
        """Take a change; tell whether a task waits by it."""
        if old is not None and old.spec.chassis_swarm_id:
            waiting = self._waiting[old.spec.chassis_swarm_id]
            waiting.pop(old.task_id, None)
            if not waiting:
                del self._waiting[old.spec.chassis_swarm_id]
        if new is None or not new.runs_in_chassis or not on_offer(new, now):
            return False
        spec = new.spec
        order = (-spec.priority, spec.create_time, spec.position, new.task_id)
        self._waiting[spec.chassis_swarm_id][new.task_id] = order
        return True

    def swarms(self) -> list[str]:
        """Return the swarms with tasks that wait."""
        return list(self._waiting)

    def of(self, swarm_id: str) -> Iterator[str]:
        """Yield the tasks that wait for a swarm, the next one first."""
        waiting = self._waiting.get(swarm_id, {})
        yield from sorted(waiting, key=lambda task_id: waiting[task_id])
