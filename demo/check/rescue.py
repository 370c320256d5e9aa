"""Invariants of the rescue: two others helped, no more, and were paid by who was helped."""

from collections.abc import Iterator

from demo.check.evidence import Entry, Evidence, Record
from demo.plan import HELPERS, Does


def _request(evidence: Evidence) -> Entry | None:
    asker = evidence.fleet.whose(Does.HELPED).id
    found = (each for each in evidence.entries("help_requested") if each.swarm_id == asker)
    return next(found, None)


def _about(evidence: Evidence, request: Entry, operation: str) -> list[Entry]:
    entries = evidence.entries(operation)
    return [each for each in entries if each.details.get("help_id") == request.details["help_id"]]


def _told(evidence: Evidence, request: Entry, event: str) -> list[Record]:
    records = evidence.records(event)
    return [each for each in records if each.fields["help_id"] == request.details["help_id"]]


def two_sessions_helped(evidence: Evidence) -> Iterator[str]:
    """Two others accepted, no more than may, and whom the log names is who helped."""
    asker = evidence.fleet.whose(Does.HELPED).id
    request = _request(evidence)
    if request is None:
        yield f"{asker} never asked for help"
        return
    accepted = [each.swarm_id for each in _about(evidence, request, "help_accepted")]
    if len(set(accepted)) != HELPERS or len(accepted) > request.details["max_helpers"]:
        yield f"{HELPERS} should have helped {asker}, and {accepted} accepted"
    if asker in accepted:
        yield f"{asker} helped itself"
    helped = {each.swarm_id for each in _told(evidence, request, "helps")}
    if helped != set(accepted):
        yield f"the log says that {sorted(accepted)} help, and {sorted(helped)} believe to do so"


def help_ended_with_the_blocker(evidence: Evidence) -> Iterator[str]:
    """The request ended when the blocker was resolved, nobody joined later, the task was done."""
    request = _request(evidence)
    if request is None:
        return
    resolved = [e for e in evidence.entries("blocker_resolved") if e.claim == request.claim]
    ended = _about(evidence, request, "help_ended")
    if len(ended) != 1 or not resolved or ended[0].sequence < resolved[0].sequence:
        yield f"the help with {request.task_id} did not end once, when its blocker was resolved"
        return
    for each in _about(evidence, request, "help_accepted"):
        if each.sequence > resolved[0].sequence:
            yield f"{each.swarm_id} joined after the blocker of {request.task_id} was resolved"
    done = [e for e in evidence.entries("task_completed") if e.claim == request.claim]
    if [each.swarm_id for each in done] != [request.swarm_id]:
        yield f"{request.swarm_id} did not complete {request.task_id} under the attempt it was in"


def the_helped_paid_the_helpers(evidence: Evidence) -> Iterator[str]:
    """What helpers spent was charged once each, to who asked, within the budget of the request."""
    request = _request(evidence)
    if request is None:
        return
    said = {e.swarm_id: e.fields["cost_micros"] for e in _told(evidence, request, "helped")}
    if not said:
        yield f"nobody who helped {request.swarm_id} spent anything"
    charged = _about(evidence, request, "cost_tracked")
    logged = {each.details["helper_swarm_id"]: each.details["cost_micros"] for each in charged}
    if len(charged) != len(logged) or logged != said:
        yield f"helpers spent {said}, and the log has {logged} in {len(charged)} entries"
    budget = request.details["budget_micros"]
    if sum(logged.values()) > budget:
        yield f"helpers spent {sum(logged.values())} of {budget} micro-US-dollars"
    for each in charged:
        if (each.swarm_id, *each.claim) != (request.swarm_id, *request.claim):
            yield f"what {each.details['helper_swarm_id']} spent was charged to {each.swarm_id}"
