"""Every acknowledged request has its one effect, and every effect its request.

A request carries a tag that its witness entry repeats: in the reason, the note, the text, the
cost. So an effect can be told from the effect of any other request.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tests.robustness.check.replay import Replay
from tests.robustness.check.tasks import CANCELLED, FAILED
from tests.robustness.check.violation import Violation
from tests.robustness.evidence import REPORTED, Entry, Evidence
from tests.robustness.history import Operation, Outcome

# Where the entry of each kind of request repeats the tag.
TAGS: dict[str, tuple[str, str]] = {
    "complete": ("task_completed", "cost_micros"),
    "fail": ("task_failed", "reason"),
    "release": ("task_released", "reason"),
    "progress": ("progress_reported", "note"),
    "milestone": ("progress_reported", "note"),
    "block": ("blocker_reported", "description"),
    "resolve": ("blocker_resolved", "resolution"),
    "broadcast": ("broadcast_sent", "message"),
    "cost": ("cost_tracked", "operation"),
    "budget": ("budget_set", "limit_micros"),
    "trip": ("breaker_opened", "detail"),
    "hold": ("hold_opened", "detail"),
    "reset": ("breaker_reset", "reason"),
    "end-hold": ("hold_reset", "reason"),
    "help": ("help_requested", "reason"),
    "acknowledge": ("escalation_acknowledged", "acknowledgement"),
}
_DETAIL = dict(TAGS.values())

# A claim that ended by a request of this kind: a repeat of it is acknowledged once more.
_ENDINGS = frozenset(("complete", "fail", "release"))

# The session library keeps a milestone while there is no connection, and sends only the last
# one: that it took one is no promise.
KEPT = frozenset(("milestone",))

# The incident that a resolution is about has its attempt; a text for everyone has none.
_WITHOUT_ATTEMPT = frozenset(("resolve", "broadcast"))

# What the client library says by itself, without being asked for it.
_OF_THE_LIBRARY = ("the caller that claimed the task has gone", "halted: ")

# An escalation is about a task of which its acknowledgement says nothing.
_WITHOUT_TASK = frozenset(("acknowledge",))


@dataclass(frozen=True, slots=True)
class Group:
    """All repeats of one request."""

    kind: str
    tag: str
    operations: tuple[Operation, ...]

    @property
    def first(self) -> Operation:
        """The first of them."""
        return self.operations[0]

    @property
    def acknowledged(self) -> bool:
        """Whether any of them was answered that it took effect.

        That a breaker is open already, or an escalation closed, is an answer without an effect.
        """
        return any(op.acknowledged and op.answer.get("done", True) for op in self.operations)

    @property
    def impossible(self) -> bool:
        """Whether none of them can have taken effect."""
        return all(_without_effect(operation) for operation in self.operations)


def _without_effect(operation: Operation) -> bool:
    """Tell whether a refusal is certain to be of the only time that the request was sent.

    The session library repeats a request over cuts; the first time may have taken effect. It
    is recognised for as long as the claim has no successor, which a completed one never has.
    """
    repeated = operation.fields.get("via") == "session" and operation.kind != "complete"
    return operation.outcome is Outcome.REFUSED and not repeated


def groups(evidence: Evidence) -> list[Group]:
    """Return the requests that leave a tag, each with its repeats."""
    found: defaultdict[tuple[str, str], list[Operation]] = defaultdict(list)
    for operation in evidence.operations:
        if operation.kind in TAGS and operation.tag:
            found[operation.kind, operation.tag].append(operation)
    return [Group(kind, tag, tuple(operations)) for (kind, tag), operations in found.items()]


def tag_of(entry: Entry) -> str:
    """Return the tag that an entry repeats; empty when entries of its kind carry none."""
    if entry.operation in ("breaker_opened", "hold_opened") and entry.details["cause"] != "manual":
        return ""
    tag = entry.details.get(_DETAIL.get(entry.operation, ""))
    return "" if tag in (None, REPORTED) else str(tag)


def by_tag(evidence: Evidence) -> dict[tuple[str, str], list[Entry]]:
    """Return the entries with a tag, by their operation and tag."""
    found: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in evidence.log:
        if tag := tag_of(entry):
            found[entry.operation, tag].append(entry)
    return found


def effects(evidence: Evidence) -> Iterator[Violation]:
    """Requests that leave a tag: acknowledged once, refused never, nothing from nowhere."""
    entries = by_tag(evidence)
    ended = {(e.operation, e.task_id, e.attempt) for e in evidence.log}
    known = _causes(evidence)
    for group in groups(evidence):
        decision = TAGS[group.kind][0]
        known.add((decision, group.tag))
        yield from _effects_of(group, entries.get((decision, group.tag), []), ended)
    for (decision, tag), found in entries.items():
        if (decision, tag) not in known and not tag.startswith(_OF_THE_LIBRARY):
            entry = found[0]
            yield Violation(
                "every-entry-has-a-cause",
                f"entry {entry.sequence}: nobody asked for {decision} {tag}",
                entry.task_id,
                entry.swarm_id,
            )


def _causes(evidence: Evidence) -> set[tuple[str, str]]:
    """Return what else leaves a tag: statuses and calls for help open blockers, helpers spend."""
    known = {("blocker_reported", operation.tag) for operation in evidence.of_kind("help")}
    known |= {("cost_tracked", operation.tag) for operation in evidence.of_kind("help-cost")}
    for operation in evidence.of_kind("status"):
        known.add(("blocker_reported", operation.tag))
        for status in ("idle", "busy", "help"):
            known.add(("blocker_resolved", f"{operation.swarm_id} reported {status}"))
    return known


def _effects_of(
    group: Group, found: list[Entry], ended: set[tuple[str, str, int]]
) -> Iterator[Violation]:
    asked = group.first
    about = f"{group.kind} {group.tag} of {asked.swarm_id or asked.client} {asked.task_id}"
    if len(found) > 1:
        yield _violation("effect-once", group, f"{about} took effect {len(found)} times")
    if group.acknowledged and not found and group.kind not in KEPT:
        end = (TAGS[group.kind][0], asked.task_id, asked.attempt)
        if group.kind not in _ENDINGS or end not in ended:
            why = f"{about} was acknowledged and has no entry"
            yield _violation("acknowledged-is-kept", group, why)
    if group.impossible and found:
        why = f"{about} was refused ({asked.reason}) and took effect"
        yield _violation("refused-has-no-effect", group, why)
    for entry in found:
        attempt = asked.attempt if group.kind not in _WITHOUT_ATTEMPT else entry.attempt
        task_id = asked.task_id if group.kind not in _WITHOUT_TASK else entry.task_id
        if (entry.task_id, entry.attempt) != (task_id, attempt):
            yield _violation("effect-as-asked", group, f"{about} became {entry.body}")


def _violation(check: str, group: Group, text: str) -> Violation:
    return Violation(check, text, group.first.task_id, group.first.swarm_id)


def creations(evidence: Evidence) -> Iterator[Violation]:
    """Boards: all or nothing, once for each request id, acknowledged ones for ever."""
    created = Counter(entry.task_id for entry in evidence.entries("task_created"))
    for task_id, count in created.items():
        if count > 1:
            yield Violation("created-once", f"{task_id} was created {count} times", task_id)
    answers: dict[str, list[str]] = {}
    for operation in evidence.of_kind("create-reused"):
        if operation.acknowledged:
            text = f"the request id {operation.tag} was taken twice, with two contents"
            yield Violation("created-once", text)
    for operation in evidence.of_kind("create"):
        yield from _board(operation, created.keys())
        ids = list(operation.answer.get("task_ids", ()))
        if operation.acknowledged and answers.setdefault(operation.tag, ids) != ids:
            text = f"the request id {operation.tag} was answered with other tasks the second time"
            yield Violation("created-once", text, answers[operation.tag][0])
    yield from _unasked(evidence, created.keys())


def _board(operation: Operation, created: Collection[str]) -> Iterator[Violation]:
    named = [task["task_id"] for task in operation.fields["tasks"]]
    ids = list(operation.answer.get("task_ids", named))
    there = [task_id for task_id in ids if task_id in created]
    if operation.acknowledged and len(there) < len(named):
        text = (
            f"the board {operation.tag} was acknowledged, and {len(named) - len(there)} of its "
            f"{len(named)} tasks are not in the log"
        )
        yield Violation("acknowledged-is-kept", text, ids[0])
    elif there and len(there) < len(named):
        text = f"of the board {operation.tag} only {len(there)} of {len(named)} tasks exist"
        yield Violation("board-all-or-nothing", text, there[0])


def _unasked(evidence: Evidence, created: Collection[str]) -> Iterator[Violation]:
    asked = {operation.task_id for operation in evidence.of_kind("hand-over")}
    # Of a board without ids whose answer was lost for good, nobody knows the names.
    nameless = False
    for operation in evidence.of_kind("create"):
        named = [task["task_id"] for task in operation.fields["tasks"]]
        asked |= {*operation.answer.get("task_ids", named)}
        nameless = nameless or (operation.outcome is Outcome.UNKNOWN and not all(named))
    for task_id in created:
        if task_id not in asked and not (nameless and task_id.startswith("task-")):
            yield Violation("every-entry-has-a-cause", f"nobody created {task_id}", task_id)


def claims(evidence: Evidence) -> Iterator[Violation]:
    """What a swarm was told that it holds was given to it, and to nobody else."""
    owners: dict[tuple[str, int], str] = {}
    for entry in evidence.log:
        if not entry.grants:
            continue
        before = owners.setdefault((entry.task_id, entry.attempt), entry.swarm_id)
        if before != entry.swarm_id:
            yield Violation(
                "one-owner",
                f"attempt {entry.attempt} of {entry.task_id} was given to {before} and to "
                f"{entry.swarm_id}",
                entry.task_id,
            )
    for task_id, attempt, swarm_id, how in _told(evidence):
        owner = owners.get((task_id, attempt))
        if owner != swarm_id:
            given = f"it was given to {owner}" if owner else "the log gives it to nobody"
            yield Violation(
                "one-owner" if owner else "acknowledged-is-kept",
                f"{swarm_id} was told ({how}) that it holds {task_id} under attempt {attempt}; "
                f"{given}",
                task_id,
                swarm_id,
            )


def _told(evidence: Evidence) -> Iterator[tuple[str, int, str, str]]:
    for seen in evidence.seen("received"):
        what = seen.fields
        yield what["task_id"], what["attempt"], what["swarm_id"], "by its session"
    for operation in evidence.of_kind("claim", "hand-over"):
        if operation.acknowledged and operation.answer["claimed"]:
            yield operation.task_id, operation.answer["attempt"], operation.swarm_id, "as it asked"


def cancellations(evidence: Evidence, replay: Replay) -> Iterator[Violation]:
    """A task is called off because somebody asked, or because what it waits for has failed."""
    asked = {op.task_id for op in evidence.of_kind("cancel") if op.outcome is not Outcome.REFUSED}
    waits_for = {task.task_id: task.dependencies for task in evidence.tasks.values()}
    for entry in evidence.entries("task_cancelled"):
        lives = [replay.life(name) for name in waits_for.get(entry.task_id, ())]
        doomed = any(life is not None and life.state in (FAILED, CANCELLED) for life in lives)
        if entry.task_id not in asked and not doomed:
            yield Violation(
                "every-entry-has-a-cause", f"nobody called {entry.task_id} off", entry.task_id
            )
    for operation in evidence.of_kind("cancel"):
        life = replay.life(operation.task_id)
        if operation.acknowledged and (life is None or life.state != CANCELLED):
            yield Violation(
                "acknowledged-is-kept",
                f"{operation.task_id} was called off, and is {life.state if life else 'unknown'}",
                operation.task_id,
            )
