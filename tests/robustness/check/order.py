"""Real time: what was answered before something else was asked comes before it."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.robustness.check.effects import KEPT, TAGS, by_tag, groups
from tests.robustness.check.replay import Replay, Version
from tests.robustness.check.violation import Violation
from tests.robustness.evidence import Evidence
from tests.robustness.history import Operation


@dataclass(frozen=True, slots=True)
class _Placed:
    """An effect in the log, and between which moments it must have happened."""

    sequence: int
    invoked: float
    returned: float
    text: str
    task_id: str


def _placed(evidence: Evidence) -> list[_Placed]:
    entries = by_tag(evidence)
    found = []
    for group in groups(evidence):
        effects = entries.get((TAGS[group.kind][0], group.tag), [])
        if len(effects) == 1:
            found.append(_between(effects[0].sequence, group.operations, group.first.task_id))
    created = {entry.task_id: entry.sequence for entry in evidence.entries("task_created")}
    boards: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in evidence.of_kind("create"):
        boards[operation.tag].append(operation)
    for operations in boards.values():
        task_id = operations[0].fields["tasks"][0]["task_id"]
        if task_id in created:
            found.append(_between(created[task_id], operations, task_id))
    return found


def _between(
    sequence: int, operations: list[Operation] | tuple[Operation, ...], task_id: str
) -> _Placed:
    first = operations[0]
    answers = [op.returned for op in operations if op.acknowledged and op.returned is not None]
    if first.kind in KEPT:
        answers = []
    return _Placed(
        sequence,
        min(operation.invoked for operation in operations),
        min(answers, default=math.inf),
        f"{first.kind} {first.tag} of {first.swarm_id or first.client}",
        task_id,
    )


def real_time(evidence: Evidence) -> Iterator[Violation]:
    """No effect comes before one that was acknowledged before it was asked for."""
    latest: _Placed | None = None
    for placed in sorted(_placed(evidence), key=lambda each: each.sequence):
        if latest is not None and placed.returned < latest.invoked:
            yield Violation(
                "real-time-order",
                f"{placed.text} (entry {placed.sequence}) was acknowledged before {latest.text} "
                f"(entry {latest.sequence}) was asked for, and comes after it",
                placed.task_id,
            )
        if latest is None or placed.invoked > latest.invoked:
            latest = placed


def reads(evidence: Evidence, replay: Replay) -> Iterator[Violation]:
    """A read shows a state that the task had, and none from before what was known by then."""
    known: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for placed in _placed(evidence):
        if placed.task_id and placed.returned < math.inf:
            index = _index(replay.versions.get(placed.task_id, []), placed.sequence)
            known[placed.task_id].append((placed.returned, index))
    asked = [op for op in evidence.of_kind("get") if op.acknowledged]
    for operation in sorted(asked, key=lambda op: op.returned or 0.0):
        versions = replay.versions.get(operation.task_id, [])
        before = known[operation.task_id]
        least = max((index for at, index in before if at < operation.invoked), default=0)
        shown = operation.answer
        matching = [
            index
            for index, version in enumerate(versions)
            if (version.life.state, version.life.attempt, version.life.milestone)
            == (shown["state"], shown["attempt"], shown["milestone"])
        ]
        if not matching:
            yield _stale(operation, "a state that the task never had")
        elif matching[-1] < least:
            yield _stale(operation, f"a state from before entry {versions[least].last}")
        else:
            place = bisect_left(matching, least)
            before.append((operation.returned or math.inf, matching[place]))


def _index(versions: list[Version], sequence: int) -> int:
    """Return the place of the version as it was after an entry, of the task or of its help."""
    return max(0, bisect_right([version.first for version in versions], sequence) - 1)


def _stale(operation: Operation, why: str) -> Violation:
    shown = f"{operation.answer['state']}, attempt {operation.answer['attempt']}"
    return Violation(
        "reads-are-current",
        f"operation {operation.number}: {operation.client} was shown {operation.task_id} as "
        f"{shown}: {why}, which was acknowledged before it asked",
        operation.task_id,
    )
