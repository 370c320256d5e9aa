"""Which free swarm gets which waiting task: decisions in memory, without I/O.

A task that arrives looks for the best free swarm; a swarm that becomes free looks for the
first task that it qualifies for. Whoever finds nothing waits in an index, so that each
event costs about the same however many wait. A pair that was found is reserved until its
claim is written, and given back if that fails.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from infrafabric_server.coordinator.admission import Admission, ClaimRefused
from infrafabric_server.coordinator.backlog import Backlog
from infrafabric_server.coordinator.capacity import Availability, Capacity
from infrafabric_server.coordinator.models import Task
from infrafabric_server.coordinator.pairs import Pairs
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.governor.matching import hourly_cap
from infrafabric_server.governor.models import CapabilityMatch
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.roster import Roster
from infrafabric_server.store.mirror import View

Age = tuple[int, int]

# Tasks that a swarm turns out not to be admitted to, in one turn of the event loop.
_UNPAID = 16


@dataclass(frozen=True, slots=True)
class Assignment:
    """A reserved pair; `match` explains the choice when a swarm was chosen for a task."""

    task_id: str
    swarm_id: str
    match: CapabilityMatch | None


class Scheduler:
    """The waiting tasks, the free swarms, and the pairs that are being written.

    Of several replicas, the leader looks for a swarm for each task that arrives, wherever the
    swarm has its session; each replica looks for tasks for its own swarms.
    """

    def __init__(
        self,
        fleet: Fleet,
        tasks: View[Task],
        capacity: Capacity,
        admission: Admission,
        leadership: Leadership,
        policies: PolicyBook,
    ) -> None:
        self._fleet = fleet
        self._tasks = tasks
        self._admission = admission
        self._policies = policies
        self._leadership = leadership
        self._capacity = capacity
        self._regular = Backlog()
        self._fillers = Backlog()
        # The pairs that are being written, each with its task if that looks for a swarm again.
        self._in_flight: dict[str, tuple[Task, Age] | None] = {}
        self._dirty: dict[str, None] = {}
        self._arrived: dict[str, tuple[Task, Age]] = {}
        # Tasks that waited in vain for the leader.
        self._left: set[str] = set()
        # What swarms gave back, and what they would not be admitted to.
        self._refused = Pairs()
        self._unpaid = Pairs()

    @property
    def idle(self) -> bool:
        """Whether nothing has happened that could lead to an assignment."""
        return not self._dirty and not self._arrived

    @property
    def waiting(self) -> int:
        """How many tasks wait for a swarm."""
        return len(self._regular) + len(self._fillers)

    def swarm_changed(self, swarm_id: str) -> None:
        """Note that a swarm may have become free."""
        self._dirty[swarm_id] = None

    def task_waits(self, task: Task, age: Age) -> None:
        """Note a task that looks for a swarm; it is matched at the next `settle`.

        One that is being written for a swarm is matched once that is done.
        """
        self._unpaid.forget_task(task.task_id)
        waiting = self._in_flight if task.task_id in self._in_flight else self._arrived
        waiting[task.task_id] = (task, age)

    def task_left(self, task_id: str) -> None:
        """Note that a task looks for a swarm no longer."""
        self._left.discard(task_id)
        self._arrived.pop(task_id, None)
        if task_id in self._in_flight:
            self._in_flight[task_id] = None
        self._regular.remove(task_id)
        self._fillers.remove(task_id)

    def task_ended(self, task_id: str) -> None:
        """Forget all about a task that has ended."""
        self.task_left(task_id)
        self._refused.forget_task(task_id)
        self._unpaid.forget_task(task_id)

    def refuse(self, swarm_id: str, task_id: str) -> None:
        """Note that a swarm gave a task back: it is not given the same one again for now."""
        self._refused.add(swarm_id, task_id)

    def has_refused(self, swarm_id: str, task_id: str) -> bool:
        """Tell whether a swarm gave a task back, and is not given it again for now."""
        return task_id in self._refused.tasks(swarm_id)

    def forgive(self, swarm_id: str) -> None:
        """Forget what a swarm gave back: its session ended, or it made progress since."""
        self._refused.forget_swarm(swarm_id)
        self.swarm_changed(swarm_id)

    def unpaid(self, refused: ClaimRefused) -> None:
        """Note that a swarm was not admitted to a task: the pair is not tried again for now."""
        self._unpaid.add(refused.swarm_id, refused.task_id)
        if refused.violation is not None:
            self._policies.violated(refused.swarm_id, refused.task_id, refused.violation)

    def paid(self, swarm_id: str) -> None:
        """Note that a swarm may be admitted to what it was not before."""
        self._unpaid.forget_swarm(swarm_id)
        self.swarm_changed(swarm_id)

    def policy_changed(self) -> None:
        """Have all that was kept apart by the policy before looked at again."""
        self._unpaid = Pairs()
        for swarm_id in self._fleet.swarms:
            self.swarm_changed(swarm_id)

    def left_over(self, task: Task, age: Age) -> None:
        """Note that a task waits in vain for the leader: a swarm here is to take it."""
        self._left.add(task.task_id)
        self.task_waits(task, age)

    def waits(self, task_id: str) -> bool:
        """Tell whether a task looks for a swarm and is not being written for one."""
        return task_id in self._regular or task_id in self._fillers

    def reserve_for(self, task: Task) -> Assignment | None:
        """Reserve the best free swarm for a task, or return None.

        The caller settles first, so that no free swarm has an older task to take.
        """
        if task.task_id in self._in_flight or not self._admission.affordable(task):
            return None
        # One that is placed by hand may have been given money since, which is not heard of here.
        self._unpaid.forget_task(task.task_id)
        roster = self._roster(task)
        while True:
            passed = {*self._refused.swarms(task.task_id), *self._unpaid.swarms(task.task_id)}
            if task.task_id in self._left:
                passed |= self._capacity.elsewhere
            match = roster.best(
                task.spec.required_capabilities,
                comparison=self._policies.current.policy.matching.comparison,
                max_cost_per_hour_micros=hourly_cap(
                    task.spec.max_cost_micros, task.spec.estimated_duration
                ),
                preferred_model=task.spec.preferred_model,
                excluding=passed,
            )
            if match is None:
                return None
            # A stream may have ended since the roster heard of its swarm, which hears it now.
            if not self._capacity.refresh(match.swarm_id).allows(task):
                continue
            if self._is_refused(task, match.swarm_id):
                continue
            return self._reserve(task.task_id, match.swarm_id, match)

    def done(self, assignment: Assignment) -> None:
        """Give a reservation up, whether its claim was written or not."""
        again = self._in_flight.pop(assignment.task_id, None)
        if again is not None:
            self._arrived[assignment.task_id] = again
        self._capacity.unreserve(assignment.swarm_id, assignment.task_id)
        self.swarm_changed(assignment.swarm_id)

    def settle(self, most: int | None = None) -> list[Assignment]:
        """Match what has changed; return the pairs that are reserved and must be written.

        `most` is how many swarms may choose before others get their turn of the event loop;
        the rest is left for the next call, and new tasks wait for it.

        Swarms choose first, among the tasks that waited already; then the new tasks choose,
        fillers last, higher priority and age first. So no task is passed by a younger one.
        """
        found: list[Assignment] = []
        chosen = 0
        while self._dirty:
            if chosen == most:
                return found
            chosen += 1
            swarm_id = next(iter(self._dirty))
            del self._dirty[swarm_id]
            found.extend(self._fill(swarm_id))
        arrived = sorted(
            self._arrived.values(),
            key=lambda item: (item[0].spec.filler, -item[0].spec.priority, item[1]),
        )
        self._arrived.clear()
        for task, age in arrived:
            decides = self._leadership.leading or task.task_id in self._left
            assignment = self.reserve_for(task) if decides else None
            if assignment is not None:
                found.append(assignment)
            else:
                self._wait(task, age)
        return found

    def _wait(self, task: Task, age: Age) -> None:
        backlog = self._fillers if task.spec.filler else self._regular
        backlog.put(
            task.task_id,
            task.spec.required_capabilities,
            priority=task.spec.priority,
            age=age,
            max_cost_per_hour_micros=hourly_cap(
                task.spec.max_cost_micros, task.spec.estimated_duration
            ),
        )

    def _fill(self, swarm_id: str) -> Iterable[Assignment]:
        tried = 0
        while True:
            available = self._capacity.refresh(swarm_id)
            if available is Availability.NONE or not self._capacity.is_here(swarm_id):
                return
            task_id = self._first_task(swarm_id, available)
            if task_id is None:
                return
            task = self._tasks.get(task_id)
            if task is not None and self._is_refused(task, swarm_id):
                tried += 1
                if tried == _UNPAID:
                    self.swarm_changed(swarm_id)
                    return
                continue
            self.task_left(task_id)
            yield self._reserve(task_id, swarm_id, None)

    def _is_refused(self, task: Task, swarm_id: str) -> bool:
        refused = self._admission.refusal(task, swarm_id)
        if refused is not None:
            self.unpaid(refused)
        return refused is not None

    def _first_task(self, swarm_id: str, available: Availability) -> str | None:
        profile = self._fleet.swarms.get(swarm_id)
        if profile is None:
            return None
        backlogs = [self._regular] if available is Availability.ANY else []
        for backlog in (*backlogs, self._fillers):
            task_id = backlog.best_for(
                profile.capabilities,
                profile.cost_per_hour_micros,
                comparison=self._policies.current.policy.matching.comparison,
                excluding={*self._refused.tasks(swarm_id), *self._unpaid.tasks(swarm_id)},
            )
            if task_id is not None:
                return task_id
        return None

    def _roster(self, task: Task) -> Roster:
        return self._capacity.filler_roster if task.spec.filler else self._capacity.roster

    def _reserve(self, task_id: str, swarm_id: str, match: CapabilityMatch | None) -> Assignment:
        self._in_flight.setdefault(task_id, None)
        self._capacity.reserve(swarm_id, task_id)
        return Assignment(task_id, swarm_id, match)
