"""Faults to plant in the evidence; each returns the name of the check that must find it."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

from tests.robustness.evidence import Entry, Evidence, FinalStatus
from tests.robustness.history import Observation, Operation, Outcome
from tests.unit.robustness.ideal import SLOTS, sealed

Plant = Callable[[Evidence, random.Random], str]
T = TypeVar("T")

PLANTS: list[Plant] = []


def _planted(plant: Plant) -> Plant:
    PLANTS.append(plant)
    return plant


def _one(found: Iterable[T], chance: random.Random) -> T:
    candidates = list(found)
    assert candidates, "the history has no place for this fault"
    return chance.choice(candidates)


def _log(evidence: Evidence, log: list[Entry]) -> None:
    """Give all servers this log, as one sound chain, and the tails too."""
    log = sealed(log)
    evidence.logs = {server: list(log) for server in evidence.logs}
    evidence.observations = [seen for seen in evidence.observations if seen.kind != "tail"]


def _without(evidence: Evidence, entry: Entry) -> None:
    _log(evidence, [each for each in evidence.log if each is not entry])


def _after(evidence: Evidence, entry: Entry, *more: Entry) -> None:
    place = evidence.log.index(entry) + 1
    _log(evidence, [*evidence.log[:place], *more, *evidence.log[place:]])


def _entry(evidence: Evidence, chance: random.Random, *operations: str) -> Entry:
    return _one(evidence.entries(*operations), chance)


def _acknowledged(evidence: Evidence, chance: random.Random, kind: str) -> Operation:
    found = (op for op in evidence.of_kind(kind) if op.acknowledged)
    return _one(found, chance)


def _entry_of(evidence: Evidence, operation: Operation) -> Entry:
    return next(
        entry for entry in evidence.log if operation.tag in map(str, entry.details.values())
    )


def _change_seen(evidence: Evidence, seen: Observation, *instead: Observation) -> None:
    place = evidence.observations.index(seen)
    evidence.observations[place : place + 1] = instead


@_planted
def attempt_with_two_owners(evidence: Evidence, chance: random.Random) -> str:
    given = _entry(evidence, chance, "claim_won", "task_assigned")
    other = next(swarm_id for swarm_id in SLOTS if swarm_id != given.swarm_id)
    _after(evidence, given, replace(given, swarm_id=other, entry_id="planted"))
    return "one-owner"


@_planted
def attempt_that_does_not_grow(evidence: Evidence, chance: random.Random) -> str:
    given = _one((e for e in evidence.log if e.grants and e.attempt > 1), chance)
    place = evidence.log.index(given)
    log = [*evidence.log]
    log[place] = replace(given, attempt=given.attempt - 1)
    _log(evidence, log)
    return "legal-transitions"


@_planted
def task_completed_twice(evidence: Evidence, chance: random.Random) -> str:
    done = _entry(evidence, chance, "task_completed")
    _after(evidence, done, replace(done, details={"cost_micros": 10**9}, entry_id="planted"))
    return "legal-transitions"


@_planted
def completion_that_takes_effect_twice(evidence: Evidence, chance: random.Random) -> str:
    done = _entry(evidence, chance, "task_completed")
    _after(evidence, done, replace(done, entry_id="planted"))
    return "effect-once"


@_planted
def acknowledged_completion_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    _without(evidence, _entry_of(evidence, _acknowledged(evidence, chance, "complete")))
    return "acknowledged-is-kept"


@_planted
def acknowledged_milestone_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    _without(evidence, _entry_of(evidence, _acknowledged(evidence, chance, "progress")))
    return "acknowledged-is-kept"


@_planted
def acknowledged_blocker_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    _without(evidence, _entry_of(evidence, _acknowledged(evidence, chance, "block")))
    return "acknowledged-is-kept"


@_planted
def acknowledged_text_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    _without(evidence, _entry_of(evidence, _acknowledged(evidence, chance, "broadcast")))
    return "acknowledged-is-kept"


@_planted
def acknowledged_board_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    board = _acknowledged(evidence, chance, "create").answer["task_ids"]
    _log(evidence, [entry for entry in evidence.log if entry.task_id not in board])
    return "acknowledged-is-kept"


@_planted
def acknowledged_claim_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    asked = _acknowledged(evidence, chance, "claim")
    claim = (asked.task_id, asked.answer["attempt"])
    _log(evidence, [e for e in evidence.log if (e.task_id, e.attempt) != claim or not e.grants])
    return "acknowledged-is-kept"


@_planted
def delivery_that_nobody_decided(evidence: Evidence, chance: random.Random) -> str:
    seen = _one(evidence.seen("received"), chance)
    fields = {**seen.fields, "attempt": 99}
    evidence.observations.append(replace(seen, fields=fields))
    return "acknowledged-is-kept"


@_planted
def cancelled_task_that_is_not(evidence: Evidence, chance: random.Random) -> str:
    asked = _acknowledged(evidence, chance, "cancel")
    cancelled = next(
        e for e in evidence.log if (e.operation, e.task_id) == ("task_cancelled", asked.task_id)
    )
    _without(evidence, cancelled)
    return "acknowledged-is-kept"


@_planted
def half_a_board(evidence: Evidence, chance: random.Random) -> str:
    asked = _one((op for op in evidence.of_kind("create") if len(op.fields["tasks"]) > 1), chance)
    for operation in evidence.of_kind("create"):
        if operation.tag == asked.tag:
            operation.outcome, operation.answer = Outcome.UNKNOWN, {}
    lost = asked.fields["tasks"][0]["task_id"]
    if lost not in evidence.tasks:
        # Nothing of it was created: now one task was.
        created = _entry(evidence, chance, "task_created")
        _after(evidence, created, replace(created, task_id=lost, entry_id="planted"))
    else:
        _log(evidence, [entry for entry in evidence.log if entry.task_id != lost])
    return "board-all-or-nothing"


@_planted
def board_created_twice(evidence: Evidence, chance: random.Random) -> str:
    asked = _acknowledged(evidence, chance, "create")
    other = [f"{task_id}-again" for task_id in asked.answer["task_ids"]]
    again = replace(asked, number=10**6, answer={"task_ids": other})
    evidence.operations.append(again)
    return "created-once"


@_planted
def effect_without_a_cause(evidence: Evidence, chance: random.Random) -> str:
    text = _entry(evidence, chance, "broadcast_sent")
    _after(evidence, text, replace(text, details={"message": "unasked"}, entry_id="planted"))
    return "every-entry-has-a-cause"


@_planted
def cancellation_without_a_cause(evidence: Evidence, chance: random.Random) -> str:
    asked = _acknowledged(evidence, chance, "cancel")
    evidence.operations.remove(asked)
    return "every-entry-has-a-cause"


@_planted
def refused_request_that_takes_effect(evidence: Evidence, chance: random.Random) -> str:
    asked = _acknowledged(evidence, chance, "progress")
    asked.outcome, asked.reason = Outcome.REFUSED, "StaleAttempt"
    return "refused-has-no-effect"


@_planted
def stale_message_that_takes_effect(evidence: Evidence, chance: random.Random) -> str:
    stale = _one((op for op in evidence.of_kind("complete") if op.reason), chance)
    given = next(
        e
        for e in evidence.log
        if e.grants and (e.task_id, e.attempt) == (stale.task_id, stale.attempt + 1)
    )
    details = {"cost_micros": int(stale.tag)}
    planted = replace(
        given,
        operation="task_completed",
        attempt=stale.attempt,
        details=details,
        entry_id="planted",
    )
    _after(evidence, given, planted)
    return "legal-transitions"


@_planted
def task_given_before_its_dependency(evidence: Evidence, chance: random.Random) -> str:
    waits = _entry(evidence, chance, "task_unblocked")
    place = evidence.log.index(waits)
    task = evidence.tasks[waits.task_id]
    done = max(
        i
        for i, e in enumerate(evidence.log[:place])
        if e.operation == "task_completed" and e.task_id in task.dependencies
    )
    log = [*evidence.log]
    log.insert(done, replace(log.pop(place), revision=log[done].revision))
    _log(evidence, log)
    return "dependencies"


@_planted
def swarm_with_too_many_tasks(evidence: Evidence, chance: random.Random) -> str:
    joined = next(e for e in evidence.log if e.swarm_id == "bob")
    log = [*evidence.log]
    log[log.index(joined)] = replace(joined, details={"max_concurrent_tasks": 0})
    _log(evidence, log)
    del chance
    return "slots"


@_planted
def swarm_that_nobody_knows(evidence: Evidence, chance: random.Random) -> str:
    _without(evidence, next(e for e in evidence.log if e.swarm_id == "bob"))
    del chance
    return "known-swarms"


@_planted
def order_against_time(evidence: Evidence, chance: random.Random) -> str:
    texts = list(evidence.entries("broadcast_sent"))
    place = chance.randrange(len(texts) - 1)
    first, second = texts[place], texts[place + 1]
    log = [*evidence.log]
    at, to = log.index(first), log.index(second)
    log[at], log[to] = (
        replace(first, details=second.details),
        replace(second, details=first.details),
    )
    _log(evidence, log)
    return "real-time-order"


@_planted
def revision_that_goes_back(evidence: Evidence, chance: random.Random) -> str:
    log = [*evidence.log]
    place = chance.randrange(1, len(log))
    log[place] = replace(log[place], revision=log[place - 1].revision - 1)
    _log(evidence, log)
    return "log-order"


@_planted
def read_from_the_past(evidence: Evidence, chance: random.Random) -> str:
    done = _acknowledged(evidence, chance, "complete")
    late = max(op.invoked for op in evidence.operations) + 10.0
    shown = {"state": "CLAIMED", "attempt": done.attempt, "milestone": 0}
    claimed = [
        s
        for s in evidence.seen("task-changed")
        if (s.fields["task_id"], s.fields["attempt"]) == (done.task_id, done.attempt)
    ]
    shown["milestone"] = claimed[0].fields["milestone"]
    about = {"task_id": done.task_id}
    read = Operation(10**6, "reader", "get", "", late, about, late + 1.0, Outcome.OK, "", shown)
    evidence.operations.append(read)
    return "reads-are-current"


@_planted
def read_of_what_never_was(evidence: Evidence, chance: random.Random) -> str:
    _acknowledged(evidence, chance, "get").answer["attempt"] = 77
    return "reads-are-current"


@_planted
def hole_in_a_task_watch(evidence: Evidence, chance: random.Random) -> str:
    _change_seen(evidence, _one(list(evidence.seen("task-changed"))[:-2], chance))
    return "watch-holes"


@_planted
def repeat_in_a_task_watch(evidence: Evidence, chance: random.Random) -> str:
    seen = _one(evidence.seen("task-changed"), chance)
    _change_seen(evidence, seen, seen, replace(seen))
    return "watch-once"


@_planted
def task_watch_that_goes_back(evidence: Evidence, chance: random.Random) -> str:
    changes = [s for s in evidence.seen("task-changed") if s.client == "watcher-0"]
    pairs = [(a, b) for a, b in pairwise(changes) if a.fields["cursor"] != b.fields["cursor"]]
    first, second = _one(pairs, chance)
    at, to = evidence.observations.index(first), evidence.observations.index(second)
    evidence.observations[at], evidence.observations[to] = second, first
    return "watch-order"


@_planted
def task_watch_that_lies(evidence: Evidence, chance: random.Random) -> str:
    seen = _one(evidence.seen("task-changed"), chance)
    _change_seen(evidence, seen, replace(seen, fields={**seen.fields, "owner": "eve"}))
    return "watch-truth"


@_planted
def snapshot_that_lies(evidence: Evidence, chance: random.Random) -> str:
    end = next(evidence.seen("task-snapshot-end"))
    shown = {"task_id": "x", "state": "AVAILABLE", "attempt": 0, "owner": "", "parked": False}
    evidence.observations.insert(0, Observation(end.client, "task-snapshot", 0.0, shown))
    del chance
    return "watch-snapshot"


@_planted
def text_that_a_watcher_missed(evidence: Evidence, chance: random.Random) -> str:
    texts = [s for s in evidence.seen("status-changed") if s.client == "watcher-0"]
    _change_seen(evidence, _one(texts[:-1], chance))
    return "watch-holes"


@_planted
def status_that_one_watcher_saw(evidence: Evidence, chance: random.Random) -> str:
    texts = [s for s in evidence.seen("status-changed") if s.client == "watcher-0"]
    seen = _one(texts[:-1], chance)
    told = {"cursor": seen.fields["cursor"], "what": "status", "about": "ada", "status": "BUSY"}
    more = replace(seen, fields={**told, "message": ""})
    _change_seen(evidence, seen, seen, more)
    return "watch-agreement"


@_planted
def text_heard_twice(evidence: Evidence, chance: random.Random) -> str:
    seen = _one(evidence.seen("text"), chance)
    _change_seen(evidence, seen, seen, replace(seen))
    return "text-once"


@_planted
def frame_that_a_stream_left_out(evidence: Evidence, chance: random.Random) -> str:
    _one(evidence.seen("stream"), chance).fields["sequences"] = [1, 3]
    return "stream-order"


@_planted
def entry_that_a_tail_left_out(evidence: Evidence, chance: random.Random) -> str:
    _change_seen(evidence, _one(list(evidence.seen("tail"))[1:-1], chance))
    return "tail-holes"


@_planted
def entry_that_was_changed(evidence: Evidence, chance: random.Random) -> str:
    place = chance.randrange(len(evidence.log))
    entry = evidence.log[place]
    evidence.log[place] = replace(entry, body=entry.body.replace("}", " }", 1))
    return "witness-chain"


@_planted
def entry_that_was_cut_out(evidence: Evidence, chance: random.Random) -> str:
    del evidence.log[chance.randrange(len(evidence.log) - 1)]
    return "witness-chain"


@_planted
def entry_that_was_sealed_twice(evidence: Evidence, chance: random.Random) -> str:
    entry = _one(evidence.log, chance)
    _after(evidence, entry, replace(entry))
    return "witness-once"


@_planted
def replica_with_another_log(evidence: Evidence, chance: random.Random) -> str:
    del evidence.logs["server-1"][-chance.randint(1, 3) :]
    return "witness-one-log"


@_planted
def task_that_is_not_as_logged(evidence: Evidence, chance: random.Random) -> str:
    task = _one(evidence.tasks.values(), chance)
    evidence.tasks[task.task_id] = replace(task, attempt=task.attempt + 1)
    return "state-is-the-log"


@_planted
def task_that_vanished(evidence: Evidence, chance: random.Random) -> str:
    del evidence.tasks[_one(evidence.tasks, chance)]
    return "state-is-the-log"


@_planted
def blocker_that_nobody_reported(evidence: Evidence, chance: random.Random) -> str:
    evidence.blockers.add(("ada", _one(evidence.tasks, chance)))
    return "state-is-the-log"


@_planted
def completion_counted_twice(evidence: Evidence, chance: random.Random) -> str:
    status = _one(evidence.statuses.values(), chance)
    more = FinalStatus(status.swarm_id, "IDLE", status.tasks_completed + 1, status.cost_micros)
    evidence.statuses[status.swarm_id] = more
    return "completions-counted-once"


@_planted
def task_that_is_stuck(evidence: Evidence, chance: random.Random) -> str:
    task = _one(evidence.tasks.values(), chance)
    evidence.tasks[task.task_id] = replace(task, state="AVAILABLE")
    return "nothing-is-stuck"


@_planted
def server_that_died(evidence: Evidence, chance: random.Random) -> str:
    evidence.observations.append(Observation("server-0", "server-died", 1.0, {"why": "a bug"}))
    del chance
    return "server-died"


@_planted
def request_id_taken_twice(evidence: Evidence, chance: random.Random) -> str:
    asked = _acknowledged(evidence, chance, "create")
    evidence.operations.append(replace(asked, number=10**6, kind="create-reused"))
    return "created-once"


@_planted
def gap_without_a_reason(evidence: Evidence, chance: random.Random) -> str:
    seen = _one(evidence.seen("task-changed"), chance)
    evidence.observations.append(replace(seen, kind="task-gap", fields={}))
    return "watch-gap"


@_planted
def fabric_that_does_not_come_back(evidence: Evidence, chance: random.Random) -> str:
    evidence.observations.append(Observation("finale", "unavailable", 1.0, {"why": "no answer"}))
    del chance
    return "comes-back"
