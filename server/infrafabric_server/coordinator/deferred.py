"""Waiting tasks that no swarm is admitted to, whichever it is: in memory, without I/O."""

from collections.abc import Iterator

from infrafabric_server.coordinator.admission import Admission, ClaimRefused
from infrafabric_server.coordinator.models import Task
from infrafabric_server.coordinator.ordered import Ordered
from infrafabric_server.governor.policy.cases import MAX_TASK_COST

Age = tuple[int, int]

# Tasks that are looked at again together when the fabric has money for them: a millisecond.
_TURN = 256


class Deferred:
    """Keeps tasks apart from those that wait for a swarm, so that none is tried for them.

    Some wait until the fabric has money for them; others must change, or the policy.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._unpaid: Ordered[int, tuple[Task, Age]] = Ordered()
        self._barred: dict[str, tuple[Task, Age]] = {}

    def __len__(self) -> int:
        return len(self._unpaid) + len(self._barred)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._unpaid or task_id in self._barred

    def lacks(self, task: Task) -> bool:
        """Tell whether its own account or the fabric's has too little for a task."""
        admission = self._admission
        return not (admission.affordable(task) and admission.covered(admission.amount(task)))

    def takes(self, task: Task, age: Age) -> bool:
        """Keep a task if it lacks money; return whether it does."""
        if not self._admission.affordable(task):
            self.bar(task, age)
            return True
        amount = self._admission.amount(task)
        if self._admission.covered(amount):
            return False
        self._unpaid.put(task.task_id, amount, (task, age))
        return True

    def bar(self, task: Task, age: Age) -> None:
        """Keep a task until it changes, or the policy does."""
        self._barred[task.task_id] = (task, age)

    def discard(self, task_id: str) -> None:
        """Keep a task no longer; an unknown id changes nothing."""
        self._unpaid.discard(task_id)
        self._barred.pop(task_id, None)

    @property
    def covered(self) -> bool:
        """Whether the fabric has money for a task here."""
        lacking = self._unpaid.first()
        return lacking is not None and self._admission.covered(lacking)

    def pop_covered(self) -> Iterator[tuple[Task, Age]]:
        """Yield some tasks that the fabric has money for; they are kept no longer."""
        for _ in range(_TURN):
            if not self.covered:
                return
            yield self._unpaid.pop()

    def pop_all(self) -> list[tuple[Task, Age]]:
        """Return all tasks, which are kept no longer."""
        found = [*self._barred.values()]
        self._barred.clear()
        while self._unpaid:
            found.append(self._unpaid.pop())
        return found


def bars(refused: ClaimRefused) -> bool:
    """Tell whether a refusal holds for every swarm."""
    return refused.violation is not None and refused.violation.rule == MAX_TASK_COST
