"""Invariants of the trial: who fails is stopped, a person decides, and money is not exceeded."""

from collections.abc import Iterator

from demo.check.evidence import APPRENTICE, SUPERVISOR, Entry, Evidence, Record


def _turned_away(evidence: Evidence, refusal: str) -> list[Record]:
    journal = evidence.journal(APPRENTICE)
    return [each for each in journal if each.fields.get("refusal") == refusal]


def _of_apprentice(evidence: Evidence, operation: str) -> list[Entry]:
    return [each for each in evidence.entries(operation) if each.swarm_id == APPRENTICE]


def failures_opened_the_breaker(evidence: Evidence) -> Iterator[str]:
    """Failing again and again opened a breaker, and nothing was given out while it was open."""
    opened = _of_apprentice(evidence, "breaker_opened")
    if not opened:
        yield f"the log has no breaker of {APPRENTICE} that opened"
        return
    first = opened[0]
    failed = [e for e in _of_apprentice(evidence, "task_failed") if e.sequence < first.sequence]
    if first.details.get("cause") != "failures" or not failed:
        yield f"it was not failures that opened the breaker: {first.details}"
    if not _turned_away(evidence, "CLAIM_REFUSAL_BREAKER_OPEN"):
        yield f"{APPRENTICE} was refused nothing while its breaker was open"
    closed = [each.sequence for each in _of_apprentice(evidence, "breaker_reset")]
    until = closed[0] if closed else len(evidence.log) + 1
    for entry in evidence.grants():
        if entry.swarm_id == APPRENTICE and first.sequence < entry.sequence < until:
            yield f"{entry.task_id} was given to {APPRENTICE} while its breaker was open"


def a_person_closed_the_breaker(evidence: Evidence) -> Iterator[str]:
    """The breaker was closed once, by the person who took responsibility, and work went on."""
    approved = [each for each in evidence.journal(SUPERVISOR) if each.event == "approved"]
    resets = _of_apprentice(evidence, "breaker_reset")
    if len(resets) != 1 or len(approved) != 1:
        yield f"{len(approved)} approvals of a person, and {len(resets)} resets in the log"
        return
    reset = resets[0]
    for name in ("approver", "reason"):
        if reset.details.get(name) != approved[0].fields[name]:
            yield f"the log has another {name} than the person: {reset.details}"
    later = [e for e in _of_apprentice(evidence, "task_completed") if e.sequence > reset.sequence]
    if not later:
        yield f"{APPRENTICE} completed nothing after its breaker was closed"


def the_budget_held(evidence: Evidence) -> Iterator[str]:
    """The swarm spent no more than it was granted, and was refused what that did not cover."""
    resets = _of_apprentice(evidence, "breaker_reset")
    limit = resets[-1].details.get("new_budget_micros") if resets else None
    if limit is None:
        yield f"{APPRENTICE} was granted no budget"
        return
    spent = sum(each.fields.get("cost_micros", 0) for each in evidence.journal(APPRENTICE))
    if spent > limit:
        yield f"{APPRENTICE} spent {spent} of {limit} micro-US-dollars"
    refused = _turned_away(evidence, "CLAIM_REFUSAL_BUDGET")
    if not refused:
        yield f"{APPRENTICE} was refused nothing for its budget"
    for each in refused:
        if spent + each.fields["max_cost_micros"] <= limit:
            yield f"{each.task_id} was refused, though {limit - spent} micro-US-dollars were left"
        if each.task_id in {entry.task_id for entry in evidence.grants()}:
            yield f"{each.task_id} was refused for the budget, and given out all the same"
