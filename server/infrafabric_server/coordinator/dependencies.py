"""Who waits for whom: the dependencies of the live tasks."""

from collections import defaultdict
from enum import Enum, auto

from infrafabric_server.coordinator.models import Task, TaskState
from infrafabric_server.store.mirror import View


class Verdict(Enum):
    """What the dependencies of a blocked task say."""

    WAIT = auto()
    READY = auto()
    DOOMED = auto()


class Dependencies:
    """An index from each task to the live tasks that depend on it.

    A dependency that is not among the live tasks was completed and archived: creation
    refuses unknown and failed ones, and none is archived while a live task depends on it. That
    holds of views that have come as far as the creation of the dependent task.
    """

    def __init__(self, tasks: View[Task]) -> None:
        self._tasks = tasks
        self._dependents: defaultdict[str, set[str]] = defaultdict(set)

    def task_changed(self, old: Task | None, new: Task | None) -> None:
        """Note a task that was created or has ended."""
        if new is not None and not new.state.ended:
            if old is None:
                for dependency in new.spec.dependencies:
                    self._dependents[dependency].add(new.task_id)
            return
        gone = new or old
        if gone is None:
            return
        for dependency in gone.spec.dependencies:
            waiting = self._dependents.get(dependency)
            if waiting is not None:
                waiting.discard(gone.task_id)
                if not waiting:
                    del self._dependents[dependency]

    def dependents(self, task_id: str) -> list[Task]:
        """Return the live tasks that depend on a task, in the order they should start."""
        found = [self._tasks.get(name) for name in self._dependents.get(task_id, ())]
        live = [task for task in found if task is not None]
        live.sort(key=lambda task: (-task.spec.priority, task.spec.position, task.task_id))
        return live

    def missing(self, task: Task) -> bool:
        """Tell whether a dependency is not among the live tasks."""
        return any(name not in self._tasks for name in task.spec.dependencies)

    def verdict(self, task: Task) -> tuple[Verdict, str]:
        """Return what the dependencies of a blocked task say, and which one dooms it."""
        verdict = Verdict.READY
        for dependency in task.spec.dependencies:
            found = self._tasks.get(dependency)
            if found is None or found.state is TaskState.COMPLETED:
                continue
            if found.state.ended:
                return Verdict.DOOMED, dependency
            verdict = Verdict.WAIT
        return verdict, ""
