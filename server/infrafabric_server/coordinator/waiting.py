"""Tasks that wait for a swarm, each with the comparison by which swarms qualify for it."""

from collections.abc import Collection
from itertools import islice

from infrafabric_server.coordinator.backlog import Backlog, turn
from infrafabric_server.coordinator.models import Task
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.matching import hourly_cap
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Matching, Policy

Age = tuple[int, int]

# Tasks that one question moves from where they waited by the policy before: 0.1 ms each.
_MOVES = 16


class Waiting:
    """One backlog for each comparison that the policy has for tasks that wait here.

    A policy has few, so that asking all of them costs about what one does. Tasks for which
    nothing is overridden are in that of None, and wait there whatever the policy becomes.
    """

    def __init__(self, policies: PolicyBook) -> None:
        """Start empty; tasks are to be sorted anew when another policy comes into force."""
        self._policies = policies
        self._backlogs: dict[Matching | None, Backlog] = {}
        self._tasks: dict[str, tuple[Task, Age, Matching | None]] = {}
        self._unsorted: dict[str, None] = {}
        self._seen = policies.current.policy
        policies.follow(self._changed)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._tasks

    def put(self, task: Task, age: Age) -> None:
        """Let a task wait; one that waits already is entered anew."""
        self.remove(task.task_id)
        matching = _overridden(self._policies.current.policy, task)
        self._backlogs.setdefault(matching, Backlog()).put(
            task.task_id,
            task.spec.required_capabilities,
            priority=task.spec.priority,
            age=age,
            max_cost_per_hour_micros=hourly_cap(
                task.spec.max_cost_micros, task.spec.estimated_duration
            ),
        )
        self._tasks[task.task_id] = (task, age, matching)

    def remove(self, task_id: str) -> None:
        """Let a task wait no longer; an unknown id changes nothing."""
        found = self._tasks.pop(task_id, None)
        self._unsorted.pop(task_id, None)
        if found is not None:
            backlog = self._backlogs[found[2]]
            backlog.remove(task_id)
            if not len(backlog):
                del self._backlogs[found[2]]

    def best_for(self, swarm: SwarmProfile, excluding: Collection[str] = ()) -> str | None:
        """Return the id of the task that a swarm should take first, or None; see Backlog.

        While tasks are being sorted anew, None may also mean to ask again after `sort`.
        """
        for _ in range(_MOVES):
            found = self._first(swarm, excluding)
            if found is None or not self._move(found):
                return found
        return None

    def sort(self, most: int) -> bool:
        """Sort some tasks by the policy in force; return whether all are."""
        for task_id in list(islice(self._unsorted, most)):
            self._move(task_id)
        return not self._unsorted

    def _first(self, swarm: SwarmProfile, excluding: Collection[str]) -> str | None:
        general = self._policies.current.policy.matching
        found = (
            backlog.best_for(
                swarm.capabilities,
                swarm.cost_per_hour_micros,
                comparison=(matching or general).comparison,
                excluding=excluding,
            )
            for matching, backlog in self._backlogs.items()
        )
        named = (task_id for task_id in found if task_id is not None)
        return min(named, key=self._turn, default=None)

    def _turn(self, task_id: str) -> tuple[int, str]:
        task, age, _ = self._tasks[task_id]
        return turn(task.spec.priority, age), task_id

    def _changed(self) -> None:
        """Have all tasks sorted anew, unless neither policy overrides anything."""
        before, self._seen = self._seen, self._policies.current.policy
        if before.overrides_matching or self._seen.overrides_matching:
            self._unsorted = dict.fromkeys(self._tasks)

    def _move(self, task_id: str) -> bool:
        """Put an unsorted task where it belongs; return whether it was elsewhere."""
        if task_id not in self._unsorted:
            return False
        del self._unsorted[task_id]
        task, age, matching = self._tasks[task_id]
        if _overridden(self._policies.current.policy, task) == matching:
            return False
        self.put(task, age)
        return True


def _overridden(policy: Policy, task: Task) -> Matching | None:
    found = policy.matching_for(task.task_id, task.spec.required_capabilities)
    return None if found is policy.matching else found
