"""Breakers and the hold: no work while one is open, and a person alone closes it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.robustness.check.violation import Violation
from tests.robustness.evidence import Entry, Evidence

HOLD = ""
"""The scope of the hold, as a breaker of the whole fabric."""

# What is refused to a swarm whose breaker is open, or while the fabric is held.
_NEEDS_A_CLOSED_ONE = frozenset(("claim_won", "task_assigned", "help_accepted"))

_OPENED = frozenset(("breaker_opened", "hold_opened"))
_RESET = frozenset(("breaker_reset", "hold_reset"))


@dataclass(slots=True)
class Breakers:
    """What the log amounts to: what must not be, which are open, and which pools pause."""

    violations: list[Violation] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)
    paused: dict[str, str] = field(default_factory=dict)
    swarms: set[str] = field(default_factory=set)

    def play(self, entry: Entry) -> None:
        """Follow one entry."""
        if entry.operation in _NEEDS_A_CLOSED_ONE:
            self._work(entry)
        elif entry.operation in _OPENED:
            if entry.swarm_id in self.open:
                self._fault("breaker-transitions", entry, "it is open already")
            self.open[entry.swarm_id] = entry.sequence
        elif entry.operation in _RESET:
            self._reset(entry)
        elif entry.operation == "swarm_registered":
            self.swarms.add(entry.swarm_id)
        elif entry.operation == "pool_paused":
            self.paused[str(entry.details["pool_id"])] = str(entry.details["paused_until"])
        elif entry.operation == "pool_resumed":
            self._resumed(entry)

    def _work(self, entry: Entry) -> None:
        for scope in (HOLD, entry.swarm_id):
            if scope in self.open:
                what = f"the breaker of {scope}" if scope else "the hold"
                why = f"{what} is open since entry {self.open[scope]}"
                self._fault("no-work-while-open", entry, why)

    def _reset(self, entry: Entry) -> None:
        approver, reason = str(entry.details["approver"]), str(entry.details["reason"])
        if not (approver.strip() and reason.strip()):
            self._fault("closed-by-a-person", entry, "nobody says who, or why")
        if approver in self.swarms:
            self._fault("closed-by-a-person", entry, f"{approver} is a swarm")
        if entry.details["was_open"] is not (entry.swarm_id in self.open):
            self._fault("breaker-transitions", entry, "it was not as the entry says")
        self.open.pop(entry.swarm_id, None)

    def _resumed(self, entry: Entry) -> None:
        until = self.paused.pop(str(entry.details["pool_id"]), None)
        if until is None:
            self._fault("breaker-transitions", entry, "the pool was not paused")
        elif until != entry.details["paused_until"]:
            self._fault("breaker-transitions", entry, f"it is paused until {until}")

    def _fault(self, check: str, entry: Entry, why: str) -> None:
        text = (
            f"entry {entry.sequence}: {entry.operation} {entry.task_id} of "
            f"{entry.swarm_id or 'the fabric'}, but {why}"
        )
        self.violations.append(Violation(check, text, entry.task_id, entry.swarm_id))


def breakers(evidence: Evidence) -> Iterator[Violation]:
    """Follow the breakers through the log, to what the fabric shows at the end."""
    model = Breakers()
    for entry in evidence.log:
        model.play(entry)
    yield from model.violations
    for scope in sorted(model.open.keys() ^ evidence.open_breakers):
        which = "the log" if scope in model.open else "the fabric"
        text = f"only {which} has the breaker of {scope or 'the fabric'} open"
        yield Violation("breakers-are-the-log", text, swarm_id=scope)
    yield from _pauses(evidence)


def _pauses(evidence: Evidence) -> Iterator[Violation]:
    """A pool pauses because an attempt failed for its provider, in the same transaction."""
    failed = {(entry.revision, entry.swarm_id) for entry in evidence.entries("task_failed")}
    for entry in evidence.entries("pool_paused"):
        if (entry.revision, entry.swarm_id) not in failed:
            text = (
                f"entry {entry.sequence}: a pool pauses, and no attempt of {entry.swarm_id} failed"
            )
            yield Violation("every-entry-has-a-cause", text, swarm_id=entry.swarm_id)
