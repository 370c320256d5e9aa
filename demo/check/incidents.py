"""Invariants of the story: what must have followed the faults that the run caused."""

from collections.abc import Iterator

from demo.check.evidence import ORCHESTRATOR, SUPERVISOR, Entry, Evidence, Record
from demo.plan import Does


def _killing(evidence: Evidence) -> Record | None:
    killings = [each for each in evidence.journal(SUPERVISOR) if each.event == "killed"]
    return killings[0] if killings else None


def killed_task_was_taken_over(evidence: Evidence) -> Iterator[str]:
    """The task of the killed session was taken from it and completed by another one."""
    killed = _killing(evidence)
    if killed is None:
        yield "no session was killed in the middle of a task"
        return
    victim, (task_id, attempt) = str(killed.fields["victim"]), killed.claim
    if not any(
        entry.claim == killed.claim and entry.swarm_id == victim
        for entry in evidence.entries("claim_taken_back")
    ):
        yield f"the log does not say that {victim} lost {task_id} (attempt {attempt})"
    heirs = [entry for entry in evidence.entries("task_completed") if entry.task_id == task_id]
    if not any(entry.attempt > attempt and entry.swarm_id != victim for entry in heirs):
        yield f"{task_id} was not completed by another session under a higher attempt"


def late_message_was_refused(evidence: Evidence) -> Iterator[str]:
    """What the killed session still said for its old attempt was refused, and changed nothing."""
    killed = _killing(evidence)
    if killed is None:
        yield "no session was killed, so that nothing could come too late"
        return
    victim, (task_id, attempt) = str(killed.fields["victim"]), killed.claim
    refused = [
        record
        for record in evidence.journal(victim)
        if record.event == "refused" and record.claim == killed.claim
    ]
    if not refused:
        yield f"{victim} was not refused when it spoke of {task_id} (attempt {attempt}) again"
    if not any(entry.swarm_id == victim for entry in evidence.entries("message_fenced")):
        yield f"the log has no fenced message of {victim}"
    if any(entry.claim == killed.claim for entry in evidence.entries("task_completed")):
        yield f"the log has {task_id} completed under the lost attempt {attempt}"


def _between(journal: list[Record], first: Record, last: Record) -> list[Record]:
    return journal[journal.index(first) + 1 : journal.index(last)]


def blocked_session_got_a_filler(evidence: Evidence) -> Iterator[str]:
    """The blocked session did a filler, got its own task back and completed it."""
    swarm_id = evidence.fleet.whose(Does.BLOCKED).id
    journal = evidence.journal(swarm_id)
    blocked = next((each for each in journal if each.event == "blocked"), None)
    if blocked is None:
        yield f"{swarm_id} never reported a blocker"
        return
    back = [each for each in journal if each.event == "unblocked" and each.claim == blocked.claim]
    if not back:
        yield f"{swarm_id} did not get {blocked.task_id} back"
        return
    fillers = {task.id for task in evidence.board.tasks if task.filler}
    meanwhile = _between(journal, blocked, back[0])
    if not any(each.event == "received" and each.task_id in fillers for each in meanwhile):
        yield f"{swarm_id} got no filler while it was blocked"
    if not any(each.event == "completed" and each.claim == blocked.claim for each in journal):
        yield f"{swarm_id} did not complete {blocked.task_id} under the attempt that was blocked"


def blocker_reached_the_orchestrator(evidence: Evidence) -> Iterator[str]:
    """The orchestrator was alerted to the blocker, and the log has its beginning and its end."""
    for blocked in evidence.records("blocked"):
        told = (each for each in evidence.journal(ORCHESTRATOR) if each.event == "alerted")
        if not any(each.task_id == blocked.task_id for each in told):
            yield f"the orchestrator was not alerted that {blocked.swarm_id} is blocked"
        for operation in ("blocker_reported", "blocker_resolved"):
            entries: Iterator[Entry] = evidence.entries(operation)
            if not any(entry.claim == blocked.claim for entry in entries):
                yield f"the log has no {operation} for {blocked.task_id} of {blocked.swarm_id}"


def help_was_answered(evidence: Evidence) -> Iterator[str]:
    """The session that asked for help was told who is idle and could give it."""
    swarm_id = evidence.fleet.whose(Does.HELP).id
    answers = [each for each in evidence.journal(swarm_id) if each.event == "help"]
    if not answers:
        yield f"{swarm_id} never got an answer to a call for help"
    elif not any(each.fields.get("helpers") for each in answers):
        yield f"{swarm_id} asked for help and was named no helper"
