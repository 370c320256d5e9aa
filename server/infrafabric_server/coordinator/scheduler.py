"""Which free swarm gets which waiting task: decisions in memory, without I/O.

A task that arrives looks for the best free swarm; a swarm that becomes free looks for the
first task that it qualifies for. Whoever finds nothing waits in an index, so that each
event costs about the same however many wait. A pair that was found is reserved until its
claim is written, and given back if that fails.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum, auto

from infrafabric_server.coordinator.admission import Admission, ClaimRefused
from infrafabric_server.coordinator.apart import Apart
from infrafabric_server.coordinator.capacity import Availability, Capacity
from infrafabric_server.coordinator.deferred import Age, Deferred, bars
from infrafabric_server.coordinator.models import Refusal, Task
from infrafabric_server.coordinator.ordered import Ordered
from infrafabric_server.coordinator.waiting import Waiting
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.governor.matching import hourly_cap
from infrafabric_server.governor.models import CapabilityMatch
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.mirror import View

# Tasks that a swarm turns out not to be admitted to, or swarms for a task, in one turn of the
# event loop: 10 to 50 us each.
_UNPAID = 16


class _Search(Enum):
    """Why a task got no swarm: nobody is free, not all were tried, or none will be admitted."""

    NOBODY = auto()
    UNFINISHED = auto()
    BARRED = auto()


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
        self._regular = Waiting(policies)
        self._fillers = Waiting(policies)
        # The pairs that are being written, each with its task if that looks for a swarm again.
        self._in_flight: dict[str, tuple[Task, Age] | None] = {}
        self._dirty: dict[str, None] = {}
        self._arrived: Ordered[tuple[bool, int, Age], tuple[Task, Age]] = Ordered()
        self._ages: dict[str, Age] = {}
        self._deferred = Deferred(admission)
        self._revived: list[str] = []
        self._allowance = _UNPAID
        self._tries = 0
        # Tasks that waited in vain for the leader.
        self._left: set[str] = set()
        self._apart = Apart()

    @property
    def idle(self) -> bool:
        """Whether nothing has happened that could lead to an assignment."""
        searching = self._dirty or self._apart.searching or self._arrived
        return not searching and not self._deferred.covered

    @property
    def waiting(self) -> int:
        """How many tasks wait for a swarm."""
        return len(self._regular) + len(self._fillers) + len(self._deferred)

    @property
    def deferred(self) -> int:
        """How many of them no swarm is admitted to, whichever it is."""
        return len(self._deferred)

    def swarm_changed(self, swarm_id: str) -> None:
        """Note that a swarm may have become free."""
        self._dirty[swarm_id] = None

    def task_waits(self, task: Task, age: Age) -> None:
        """Note a task that looks for a swarm; it is matched at the next `settle`.

        One that is being written for a swarm is matched once that is done.
        """
        if task.task_id in self._in_flight:
            self._in_flight[task.task_id] = (task, age)
        else:
            self._arrive(task, age)

    def reconsider(self, task_id: str) -> None:
        """Note that a task changed, so that swarms may be admitted to it that were not before."""
        self._apart.task_changed(task_id)

    def task_left(self, task_id: str) -> None:
        """Note that a task looks for a swarm no longer."""
        self._left.discard(task_id)
        if task_id in self._in_flight:
            self._in_flight[task_id] = None
        self._remove(task_id)

    def task_ended(self, task_id: str) -> None:
        """Forget all about a task that has ended."""
        self.task_left(task_id)
        self._apart.task_ended(task_id)

    def swarm_left(self, swarm_id: str) -> None:
        """Forget all about a swarm that was deregistered."""
        self._apart.swarm_left(swarm_id)
        self._admission.forget(swarm_id)

    def revived(self) -> list[str]:
        """Return, once, the tasks that the leader is to find a swarm for now."""
        found, self._revived = self._revived, []
        return found

    def refuse(self, swarm_id: str, task_id: str) -> None:
        """Note that a swarm gave a task back: it is not given the same one again for now."""
        self._apart.refuse(swarm_id, task_id)

    def has_refused(self, swarm_id: str, task_id: str) -> bool:
        """Tell whether a swarm gave a task back, and is not given it again for now."""
        return self._apart.has_refused(swarm_id, task_id)

    def forgive(self, swarm_id: str) -> None:
        """Forget what a swarm gave back: its session ended, or it made progress since."""
        self._apart.forgive(swarm_id)
        self.swarm_changed(swarm_id)

    def unpaid(self, refused: ClaimRefused) -> None:
        """Note that a swarm was not admitted to a task: the pair is not tried again for now."""
        # What a hold or a breaker refuses, it refuses for all tasks, while the swarm is not free.
        if refused.refusal is Refusal.BUDGET:
            self._apart.unpaid(refused.swarm_id, refused.task_id)
        if refused.violation is not None:
            self._apart.denied(refused.swarm_id, refused.task_id)
            self._policies.violated(refused.swarm_id, refused.task_id, refused.violation)

    def paid(self, swarm_id: str) -> None:
        """Note that a swarm may be admitted to what it was not before."""
        self._apart.paid(swarm_id)
        self.swarm_changed(swarm_id)

    def judged_anew(self, swarm_id: str) -> None:
        """Note that the policy may give a swarm what it did not before."""
        self._apart.judged_anew(swarm_id)
        self.swarm_changed(swarm_id)

    def policy_changed(self) -> None:
        """Have all that was kept apart by the policy before looked at again."""
        self._apart.policy_changed()
        self._revive(self._deferred.pop_all())
        for swarm_id in self._fleet.swarms:
            self.swarm_changed(swarm_id)

    def sort(self, most: int) -> bool:
        """Sort some waiting tasks by a policy that is new; return whether all are."""
        return self._regular.sort(most) and self._fillers.sort(most)

    def left_over(self, task: Task, age: Age) -> None:
        """Note that a task waits in vain for the leader: a swarm here is to take it."""
        self._left.add(task.task_id)
        self.task_waits(task, age)

    def waits(self, task_id: str) -> bool:
        """Tell whether a task looks for a swarm and is not being written for one."""
        queues = (self._regular, self._fillers, self._arrived, self._deferred)
        return any(task_id in queue for queue in queues)

    def reserve_for(self, task: Task, *, by_hand: bool = False) -> Assignment | None:
        """Reserve the best free swarm for a task, or return None.

        The caller settles first, so that no free swarm has an older task to take. Only some of
        those swarms are tried that turn out not to be admitted, for all tasks together until the
        next `settle`; by hand, all are.
        """
        if by_hand:
            # There may be money for it since, which is not heard of here.
            self.reconsider(task.task_id)
        if task.task_id in self._in_flight or self._deferred.lacks(task):
            return None
        barred = self._apart.swarms(task.task_id)
        found, tried = self._search(task, None if by_hand else self._allowance, barred)
        self._allowance -= 0 if by_hand else tried
        return found if isinstance(found, Assignment) else None

    def done(self, assignment: Assignment) -> None:
        """Give a reservation up, whether its claim was written or not."""
        again = self._in_flight.pop(assignment.task_id, None)
        if again is not None:
            self._arrive(*again)
        self._capacity.unreserve(assignment.swarm_id, assignment.task_id)
        self.swarm_changed(assignment.swarm_id)

    def settle(self, most: int | None = None) -> list[Assignment]:
        """Match what has changed; return the pairs that are reserved and must be written.

        `most` is how many swarms may choose, or be tried for a new task, before others get their
        turn of the event loop; the rest is left for the next call, and new tasks wait for it.
        Without it, all choose once.

        Swarms choose first, among the tasks that waited already; then the new tasks choose,
        fillers last, higher priority and age first. So no task is passed by a younger one.
        """
        self._allowance = _UNPAID
        found: list[Assignment] = []
        chosen = self._apart.choosing(self._dirty, most)
        self._tries = 0
        for swarm_id in chosen:
            if most is not None and self._tries >= _UNPAID:
                break
            self._dirty.pop(swarm_id, None)
            found.extend(self._fill(swarm_id))
        if most is not None and (self._dirty or self._apart.searching):
            return found
        self._revive(self._deferred.pop_covered())
        left = len(self._arrived) if most is None else most - len(chosen)
        unfinished: list[tuple[Task, Age, set[str]]] = []
        while left > 0 and self._arrived:
            assignment, tried = self._place(*self._arrived.pop(), unfinished)
            left -= 1 if most is None else max(1, tried)
            if assignment is not None:
                found.append(assignment)
        for task, age, barred in unfinished:
            self._arrive(task, age)
            self._apart.keep_task(task.task_id, barred)
        return found

    def _arrive(self, task: Task, age: Age) -> None:
        self._remove(task.task_id)
        key = (task.spec.filler, -task.spec.priority, age)
        self._arrived.put(task.task_id, key, (task, age))

    def _revive(self, tasks: Iterable[tuple[Task, Age]]) -> None:
        for task, age in tasks:
            self._arrive(task, age)
            if not self._leadership.leading:
                self._revived.append(task.task_id)

    def _remove(self, task_id: str) -> None:
        self._arrived.discard(task_id)
        self._deferred.discard(task_id)
        self._leave_backlog(task_id)
        self._apart.drop_task(task_id)

    def _leave_backlog(self, task_id: str) -> None:
        self._ages.pop(task_id, None)
        self._regular.remove(task_id)
        self._fillers.remove(task_id)

    def _place(
        self, task: Task, age: Age, unfinished: list[tuple[Task, Age, set[str]]]
    ) -> tuple[Assignment | None, int]:
        """Find a swarm for a task, or have it wait; return how many swarms were tried, too."""
        barred = self._apart.swarms(task.task_id)
        decides = self._leadership.leading or task.task_id in self._left
        if task.task_id in self._in_flight or not decides:
            self._wait(task, age)
            return None, 0
        if self._deferred.takes(task, age):
            return None, 0
        found, tried = self._search(task, _UNPAID, barred)
        if isinstance(found, Assignment):
            return found, tried
        if found is _Search.BARRED:
            self._deferred.bar(task, age)
        elif found is _Search.UNFINISHED:
            unfinished.append((task, age, barred))
        else:
            self._wait(task, age)
        return None, tried

    def _search(
        self, task: Task, most: int | None, barred: set[str]
    ) -> tuple[Assignment | _Search, int]:
        """Reserve the best free swarm that is admitted; return how many were not, too.

        Those in `barred` are not tried; afterwards those are in it that are not admitted.
        """
        capacity = self._capacity
        roster = capacity.filler_roster if task.spec.filler else capacity.roster
        passed = set(barred)
        if task.task_id in self._left:
            passed |= capacity.elsewhere
        required = task.spec.required_capabilities
        matching = self._policies.current.policy.matching_for(task.task_id, required)
        tried = 0
        while tried != most:
            match = roster.best(
                required,
                comparison=matching.comparison,
                max_cost_per_hour_micros=hourly_cap(
                    task.spec.max_cost_micros, task.spec.estimated_duration
                ),
                preferred_model=task.spec.preferred_model,
                excluding=passed,
            )
            if match is None:
                return _Search.NOBODY, tried
            passed.add(match.swarm_id)
            # A stream may have ended since the roster heard of its swarm, which hears it now.
            if not capacity.refresh(match.swarm_id).allows(task):
                continue
            refused = self._refusal(task, match.swarm_id)
            if refused is None:
                return self._reserve(task.task_id, match.swarm_id, match), tried
            barred.add(match.swarm_id)
            tried += 1
            if bars(refused):
                return _Search.BARRED, tried
        return _Search.UNFINISHED, tried

    def _wait(self, task: Task, age: Age) -> None:
        self._ages[task.task_id] = age
        (self._fillers if task.spec.filler else self._regular).put(task, age)

    def _fill(self, swarm_id: str) -> Iterable[Assignment]:
        tried = 0
        passed = self._apart.tasks(swarm_id)
        while True:
            available = self._capacity.refresh(swarm_id)
            if available is Availability.NONE or not self._capacity.is_here(swarm_id):
                return
            task_id = self._first_task(swarm_id, available, passed)
            if task_id is None:
                return
            task = self._tasks.get(task_id)
            if task is None or not self._is_kept(task, swarm_id):
                self.task_left(task_id)
                yield self._reserve(task_id, swarm_id, None)
                continue
            passed.add(task_id)
            tried += 1
            self._tries += 1
            if tried == _UNPAID:
                if not self._apart.keep_swarm(swarm_id, passed):
                    self.swarm_changed(swarm_id)
                return

    def _is_kept(self, task: Task, swarm_id: str) -> bool:
        """Tell whether a swarm is not admitted to a task, which waits elsewhere if nobody is."""
        age = self._ages[task.task_id]
        if self._deferred.takes(task, age):
            self._leave_backlog(task.task_id)
            return True
        refused = self._refusal(task, swarm_id)
        if refused is not None and bars(refused):
            self._leave_backlog(task.task_id)
            self._deferred.bar(task, age)
        return refused is not None

    def _refusal(self, task: Task, swarm_id: str) -> ClaimRefused | None:
        refused = self._admission.refusal(task, swarm_id)
        if refused is not None:
            self.unpaid(refused)
        return refused

    def _first_task(
        self, swarm_id: str, available: Availability, passed: AbstractSet[str]
    ) -> str | None:
        profile = self._fleet.swarms.get(swarm_id)
        if profile is None:
            return None
        queues = [self._regular] if available is Availability.ANY else []
        found = (queue.best_for(profile, passed) for queue in (*queues, self._fillers))
        return next((task_id for task_id in found if task_id is not None), None)

    def _reserve(self, task_id: str, swarm_id: str, match: CapabilityMatch | None) -> Assignment:
        self._in_flight.setdefault(task_id, None)
        self._capacity.reserve(swarm_id, task_id)
        return Assignment(task_id, swarm_id, match)
