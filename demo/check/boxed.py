"""Invariant of the box: a module did its task, run by the fabric, and what it said is right."""

from collections.abc import Iterator

from demo.check.evidence import SUPERVISOR, Evidence
from demo.plan import BOXED, BOXED_TASK, BOXED_TEXT


def the_module_did_its_task(evidence: Evidence) -> Iterator[str]:
    """It was loaded, ran once to a good end under the claim that was completed, and was right."""
    if not any(each.swarm_id == BOXED for each in evidence.entries("swarm_loaded")):
        yield f"{BOXED} was never loaded with a module"
    runs = [each for each in evidence.entries("task_executed") if each.task_id == BOXED_TASK]
    good = [each for each in runs if each.details["succeeded"]]
    if len(good) != 1:
        yield f"the module should have done {BOXED_TASK} once, and did it {len(good)} times"
        return
    done = [each for each in evidence.entries("task_completed") if each.task_id == BOXED_TASK]
    if [(each.swarm_id, *each.claim) for each in done] != [(BOXED, *good[0].claim)]:
        yield f"{BOXED_TASK} was not completed under the claim that the module ran in"
    told = [each for each in evidence.journal(SUPERVISOR) if each.event == "counted"]
    expected = len(BOXED_TEXT.split())
    if [each.fields["words"] for each in told] != [expected]:
        found = [each.fields["words"] for each in told]
        yield f"the module should have counted {expected} words, and said {found}"
