"""The log replayed against the model of the fabric, entry by entry."""

from collections import defaultdict
from dataclasses import dataclass, field

from tests.robustness.check.known import KNOWN
from tests.robustness.check.tasks import (
    AVAILABLE,
    BLOCKED,
    COMPLETED,
    RULES,
    IllegalError,
    Life,
)
from tests.robustness.check.violation import Violation
from tests.robustness.evidence import Entry, Evidence

_NEEDS_DEPENDENCIES = frozenset(
    ("claim_won", "task_assigned", "claim_taken_over", "task_unblocked")
)
# A task whose blocker is resolved comes back beside what its swarm was given meanwhile. What was
# being given to it in that moment may be written so many revisions later: as many as there are
# in some seconds for which the store was away.
_IN_FLIGHT = 500
_NEEDS_SLOT = frozenset(("claim_won", "task_assigned"))


@dataclass(frozen=True, slots=True)
class Version:
    """A task as one transaction left it; `last` is the sequence of its last entry."""

    revision: int
    first: int
    last: int
    life: Life


@dataclass(slots=True)
class Replay:
    """What the log amounts to.

    Attributes:
        violations: entries that could not follow what was before.
        versions: of each task, in order.
        slots: how many tasks each registered swarm may work on.
        blockers: swarm and task of each open blocker.
    """

    violations: list[Violation] = field(default_factory=list)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    blockers: set[tuple[str, str]] = field(default_factory=set)

    def life(self, task_id: str) -> Life | None:
        """Return a task as the log leaves it."""
        versions = self.versions.get(task_id)
        return versions[-1].life if versions else None


def replay(evidence: Evidence) -> Replay:
    """Follow the log from its beginning."""
    unblocked = {entry.task_id for entry in evidence.entries("task_unblocked")}
    player = _Player(dependencies(evidence), unblocked)
    for entry in evidence.log:
        player.play(entry)
    return player.replay


def dependencies(evidence: Evidence) -> dict[str, tuple[str, ...]]:
    """Return what each task waits for: as its creator asked, else as the fabric shows it."""
    found = {task.task_id: task.dependencies for task in evidence.tasks.values()}
    for operation in evidence.of_kind("create"):
        asked = operation.fields["tasks"]
        ids = operation.answer.get("task_ids", [task["task_id"] for task in asked])
        found |= {
            task_id: tuple(task["dependencies"])
            for task_id, task in zip(ids, asked, strict=False)
            if task_id
        }
    return found


class _Player:
    def __init__(self, waits_for: dict[str, tuple[str, ...]], unblocked: set[str]) -> None:
        self.replay = Replay()
        self._waits_for = waits_for
        self._unblocked = unblocked
        self._working: defaultdict[str, set[str]] = defaultdict(set)
        self._returned: dict[str, int] = {}
        self._revision = 0

    def play(self, entry: Entry) -> None:
        if entry.revision < self._revision:
            self._fault("log-order", entry, f"revision {self._revision} came before it")
        self._revision = max(self._revision, entry.revision)
        try:
            self._follow(entry)
        except IllegalError as error:
            self._fault("legal-transitions", entry, str(error))

    def _follow(self, entry: Entry) -> None:
        if entry.operation in RULES:
            self._about_blocker(entry)
            if entry.task_id:
                self._about_task(entry)
        elif entry.operation == "task_created":
            self._created(entry)
        elif entry.operation == "swarm_registered":
            self.replay.slots[entry.swarm_id] = int(entry.details["max_concurrent_tasks"])
        elif entry.operation == "swarm_deregistered":
            self.replay.slots.pop(entry.swarm_id, None)
            self.replay.blockers.discard((entry.swarm_id, ""))
        elif entry.operation not in KNOWN:
            self._fault("known-entries", entry, "the model does not know this operation")

    def _created(self, entry: Entry) -> None:
        if entry.task_id in self.replay.versions:
            self._fault("legal-transitions", entry, "the task exists already")
            return
        # The last dependency may be completed while the task is created as one that waits.
        waits = self._open_dependencies(entry.task_id) or entry.task_id in self._unblocked
        self._becomes(entry, Life(BLOCKED if waits else AVAILABLE))

    def _open_dependencies(self, task_id: str) -> list[str]:
        lives = {name: self.replay.life(name) for name in self._waits_for.get(task_id, ())}
        return [name for name, life in lives.items() if life is None or life.state != COMPLETED]

    def _about_task(self, entry: Entry) -> None:
        before = self.replay.life(entry.task_id)
        if before is None:
            self._fault("legal-transitions", entry, "the task was never created")
            return
        after = RULES[entry.operation](before, entry)
        if entry.operation in _NEEDS_DEPENDENCIES:
            waiting = self._open_dependencies(entry.task_id)
            if waiting:
                self._fault("dependencies", entry, f"{waiting[0]} is not completed")
        if entry.operation in _NEEDS_SLOT:
            self._check_slot(entry)
        self._becomes(entry, after)

    def _check_slot(self, entry: Entry) -> None:
        if entry.swarm_id not in self.replay.slots:
            self._fault("known-swarms", entry, "the swarm is not registered")
            return
        slots, works_on = self.replay.slots[entry.swarm_id], self._working[entry.swarm_id]
        just_returned = [
            task_id
            for task_id in works_on
            if entry.revision - self._returned.get(task_id, 0) <= _IN_FLIGHT
        ]
        if len(works_on) - len(just_returned) >= slots:
            tasks = ", ".join(sorted(works_on))
            self._fault("slots", entry, f"the swarm has {slots} slots and works on {tasks}")

    def _about_blocker(self, entry: Entry) -> None:
        about = (entry.swarm_id, entry.task_id)
        if entry.operation == "blocker_reported":
            self.replay.blockers.add(about)
        elif entry.operation == "blocker_resolved":
            if about not in self.replay.blockers:
                self._fault("legal-transitions", entry, "no blocker is open")
            self.replay.blockers.discard(about)

    def _becomes(self, entry: Entry, life: Life) -> None:
        versions = self.replay.versions.setdefault(entry.task_id, [])
        before = versions[-1].life if versions else None
        if before is not None and before.holder:
            self._working[before.holder].discard(entry.task_id)
            if life.holder != before.holder:
                self.replay.blockers.discard((before.holder, entry.task_id))
        if life.holder and not life.parked:
            self._working[life.holder].add(entry.task_id)
        if before is not None and before.parked and not life.parked:
            self._returned[entry.task_id] = entry.revision
        first = entry.sequence
        if versions and versions[-1].revision == entry.revision:
            first = versions.pop().first
        versions.append(Version(entry.revision, first, entry.sequence, life))

    def _fault(self, check: str, entry: Entry, why: str) -> None:
        attempt = f" (attempt {entry.attempt})" if entry.attempt else ""
        text = (
            f"entry {entry.sequence}: {entry.operation} {entry.task_id}{attempt} of "
            f"{entry.swarm_id or 'the fabric'}, but {why}"
        )
        self.replay.violations.append(Violation(check, text, entry.task_id, entry.swarm_id))
