"""Escalations: one for each incident, which begins, rises while nobody looks, and ends."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.robustness.check.known import ESCALATIONS
from tests.robustness.check.violation import Violation
from tests.robustness.evidence import Entry, Evidence

_HIGHEST = 3

# Incidents whose cause is over when a run is: breakers are reset, requests and blockers end.
_OVER_AT_THE_END = ("breaker:", "hold:", "help:", "blocker:")
_BREAKERS = ("breaker:", "hold:")


@dataclass(frozen=True, slots=True)
class Record:
    """How an escalation stands."""

    level: int = 0
    state: str = "CLOSED"


def escalations(evidence: Evidence) -> Iterator[Violation]:
    """Follow the escalations through the log, to what the fabric shows at the end."""
    records: dict[str, Record] = {}
    incidents: Counter[str] = Counter()
    for entry in evidence.log:
        if entry.operation in ("breaker_opened", "hold_opened"):
            swarm_id = entry.swarm_id
            incidents[f"breaker:{swarm_id}" if swarm_id else "hold:fabric"] += 1
        if entry.operation not in ESCALATIONS:
            continue
        about = str(entry.details["escalation_id"])
        if entry.operation == "escalation_opened" and about.startswith(_BREAKERS):
            incidents[about] -= 1
            if incidents[about] < 0:
                yield _violation(entry, "its breaker did not open since the last one")
        before = records.get(about, Record())
        after = _next(before, entry)
        if after is None:
            yield _violation(entry, f"it is {before.state} on level {before.level}")
        else:
            records[about] = after
    yield from _at_the_end(evidence, records)


def _next(before: Record, entry: Entry) -> Record | None:
    """Return how it stands after an entry; None when the entry cannot follow."""
    level = int(entry.details["level"])
    live = before.state != "CLOSED"
    match entry.operation:
        case "escalation_opened":
            # One that is open begins anew when its cause did before anybody looked.
            return Record(level, "OPEN") if level == 1 else None
        case "escalation_raised":
            rises = before.state == "OPEN" and before.level < level <= _HIGHEST
            return Record(level, "OPEN") if rises else None
        case "escalation_acknowledged":
            named = bool(str(entry.details["acknowledged_by"]).strip())
            known = live and named and level == before.level
            return replace(before, state="ACKNOWLEDGED") if known else None
        case "escalation_closed":
            return replace(before, state="CLOSED") if live and level == before.level else None
        case _:
            return before if live and level == before.level else None


def _at_the_end(evidence: Evidence, records: dict[str, Record]) -> Iterator[Violation]:
    for about in sorted(records.keys() | evidence.escalations.keys()):
        record, shown = records.get(about, Record()), evidence.escalations.get(about)
        if shown != (record.state, record.level):
            text = f"{about} is {shown}, and the log says {(record.state, record.level)}"
            yield Violation("escalations-are-the-log", text)
        if record.state != "CLOSED" and about.startswith(_OVER_AT_THE_END):
            text = f"the escalation {about} is {record.state}, and its cause is over"
            yield Violation("nothing-is-stuck", text)


def _violation(entry: Entry, why: str) -> Violation:
    text = f"entry {entry.sequence}: {entry.operation} {entry.details['escalation_id']}, but {why}"
    return Violation("escalation-transitions", text, entry.task_id, entry.swarm_id)
