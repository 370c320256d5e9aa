"""Invariants of every run: what the log and the journals must say whatever happened."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator

from demo.check.evidence import Entry, Evidence

GENESIS = "0" * 64


def link_hash(previous_hash: str, body: str) -> str:
    """Return the hash of an entry, as the contract defines it."""
    return hashlib.sha256(f"{previous_hash}\n{body}".encode()).hexdigest()


def witness_chain(evidence: Evidence) -> Iterator[str]:
    """The exported log is one unbroken chain, and holds the head that was noted before."""
    previous = GENESIS
    for expected, entry in enumerate(evidence.log, start=1):
        if entry.sequence != expected:
            yield f"entry {expected} is missing: entry {entry.sequence} comes instead"
            return
        if entry.previous_hash != previous:
            yield f"entry {expected} does not follow entry {expected - 1}"
            return
        if link_hash(previous, entry.body) != entry.hash:
            yield f"entry {expected} was changed: its hash does not belong to its body"
            return
        previous = entry.hash
    head = evidence.head
    if not any(
        (entry.sequence, entry.hash) == (head.sequence, head.hash) for entry in evidence.log
    ):
        yield (
            f"entry {head.sequence} is not the one that the server's log had when it was verified: "
            "the export was cut off or forged"
        )


def every_session_reported(evidence: Evidence) -> Iterator[str]:
    """Every session of the fleet took part and left a journal."""
    for session in evidence.fleet.sessions:
        events = {record.event for record in evidence.journal(session.id)}
        if "opened" not in events:
            yield f"{session.id} never reported that it began"


def every_task_done(evidence: Evidence) -> Iterator[str]:
    """Every task of the board was completed."""
    done = {entry.task_id for entry in evidence.entries("task_completed")}
    for task in evidence.board.tasks:
        if task.id not in done:
            yield f"{task.id} was never completed"


def one_completion_per_task(evidence: Evidence) -> Iterator[str]:
    """No task was completed twice, neither by the log nor by the sessions' own word."""
    logged: defaultdict[str, list[str]] = defaultdict(list)
    for entry in evidence.entries("task_completed"):
        logged[entry.task_id].append(f"{entry.swarm_id} (attempt {entry.attempt})")
    for task_id, who in logged.items():
        if len(who) > 1:
            yield f"{task_id} is completed {len(who)} times in the log: {', '.join(who)}"
    told: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for record in evidence.records("completed"):
        told[record.task_id].add((record.swarm_id, record.attempt))
    for task_id, claims in told.items():
        if len(claims) > 1:
            names = ", ".join(f"{who} (attempt {attempt})" for who, attempt in sorted(claims))
            yield f"{task_id} was acknowledged to more than one claim: {names}"


def acknowledged_completions_are_logged(evidence: Evidence) -> Iterator[str]:
    """Every completion that a session was promised is in the witness log."""
    logged = {(entry.swarm_id, *entry.claim) for entry in evidence.entries("task_completed")}
    for record in evidence.records("completed"):
        if (record.swarm_id, *record.claim) not in logged:
            yield (
                f"{record.swarm_id} was told that {record.task_id} (attempt {record.attempt}) is "
                "completed, and the log has no such entry"
            )


def one_owner_per_attempt(evidence: Evidence) -> Iterator[str]:
    """No two swarms held the same attempt of a task."""
    owners: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for entry in evidence.grants():
        owners[entry.claim].add(entry.swarm_id)
    for record in evidence.holdings():
        if record.attempt:
            owners[record.claim].add(record.swarm_id)
    for (task_id, attempt), swarms in owners.items():
        if len(swarms) > 1:
            yield f"{task_id} (attempt {attempt}) was held by {' and '.join(sorted(swarms))}"


def attempts_only_grow(evidence: Evidence) -> Iterator[str]:
    """Each claim of a task has a higher number than the one before, and only it may speak."""
    newest: dict[str, int] = {}
    granting = {entry.sequence for entry in evidence.grants()}
    speaking = ("progress_reported", "task_completed", "task_failed", "task_released")
    for entry in evidence.log:
        before = newest.get(entry.task_id, 0)
        if entry.sequence in granting:
            if entry.attempt <= before:
                yield _attempt_fault(entry, f"was given out after attempt {before}")
            newest[entry.task_id] = entry.attempt
        elif entry.operation in speaking and entry.attempt != before:
            yield _attempt_fault(entry, f"was heard ({entry.operation}) under attempt {before}")


def _attempt_fault(entry: Entry, what: str) -> str:
    return f"entry {entry.sequence}: {entry.task_id} (attempt {entry.attempt}) {what}"


def dependencies_respected(evidence: Evidence) -> Iterator[str]:
    """No task was given to anyone before the tasks that it waits for were completed."""
    granting = {entry.sequence for entry in evidence.grants()}
    waits_for = {task.id: task.depends for task in evidence.board.tasks}
    done: set[str] = set()
    for entry in evidence.log:
        if entry.operation == "task_completed":
            done.add(entry.task_id)
        elif entry.sequence in granting:
            early = [each for each in waits_for.get(entry.task_id, ()) if each not in done]
            if early:
                yield f"{entry.task_id} was given to {entry.swarm_id} before {', '.join(early)}"
