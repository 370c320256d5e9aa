"""Faults in what took effect."""

import random
from dataclasses import replace

from tests.robustness.evidence import Evidence
from tests.robustness.history import Outcome
from tests.unit.robustness.ideal import SLOTS
from tests.unit.robustness.planting import (
    Plant,
    acknowledged,
    after,
    entry,
    entry_of,
    into,
    one,
    put_log,
    without,
)

PLANTS: list[Plant] = []
planted = into(PLANTS)


@planted
def attempt_with_two_owners(evidence: Evidence, chance: random.Random) -> str:
    given = entry(evidence, chance, "claim_won", "task_assigned")
    other = next(swarm_id for swarm_id in SLOTS if swarm_id != given.swarm_id)
    after(evidence, given, replace(given, swarm_id=other, entry_id="planted"))
    return "one-owner"


@planted
def attempt_that_does_not_grow(evidence: Evidence, chance: random.Random) -> str:
    given = one((e for e in evidence.log if e.grants and e.attempt > 1), chance)
    place = evidence.log.index(given)
    log = [*evidence.log]
    log[place] = replace(given, attempt=given.attempt - 1)
    put_log(evidence, log)
    return "legal-transitions"


@planted
def task_completed_twice(evidence: Evidence, chance: random.Random) -> str:
    done = entry(evidence, chance, "task_completed")
    after(evidence, done, replace(done, details={"cost_micros": 10**9}, entry_id="planted"))
    return "legal-transitions"


@planted
def completion_that_takes_effect_twice(evidence: Evidence, chance: random.Random) -> str:
    done = entry(evidence, chance, "task_completed")
    after(evidence, done, replace(done, entry_id="planted"))
    return "effect-once"


@planted
def acknowledged_completion_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    without(evidence, entry_of(evidence, acknowledged(evidence, chance, "complete")))
    return "acknowledged-is-kept"


@planted
def acknowledged_milestone_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    without(evidence, entry_of(evidence, acknowledged(evidence, chance, "progress")))
    return "acknowledged-is-kept"


@planted
def acknowledged_blocker_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    without(evidence, entry_of(evidence, acknowledged(evidence, chance, "block")))
    return "acknowledged-is-kept"


@planted
def acknowledged_text_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    without(evidence, entry_of(evidence, acknowledged(evidence, chance, "broadcast")))
    return "acknowledged-is-kept"


@planted
def acknowledged_board_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    board = acknowledged(evidence, chance, "create").answer["task_ids"]
    put_log(evidence, [entry for entry in evidence.log if entry.task_id not in board])
    return "acknowledged-is-kept"


@planted
def acknowledged_claim_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    asked = acknowledged(evidence, chance, "claim")
    claim = (asked.task_id, asked.answer["attempt"])
    put_log(evidence, [e for e in evidence.log if (e.task_id, e.attempt) != claim or not e.grants])
    return "acknowledged-is-kept"


@planted
def delivery_that_nobody_decided(evidence: Evidence, chance: random.Random) -> str:
    seen = one(evidence.seen("received"), chance)
    fields = {**seen.fields, "attempt": 99}
    evidence.observations.append(replace(seen, fields=fields))
    return "acknowledged-is-kept"


@planted
def cancelled_task_that_is_not(evidence: Evidence, chance: random.Random) -> str:
    asked = acknowledged(evidence, chance, "cancel")
    cancelled = next(
        e for e in evidence.log if (e.operation, e.task_id) == ("task_cancelled", asked.task_id)
    )
    without(evidence, cancelled)
    return "acknowledged-is-kept"


@planted
def half_a_board(evidence: Evidence, chance: random.Random) -> str:
    asked = one((op for op in evidence.of_kind("create") if len(op.fields["tasks"]) > 1), chance)
    for operation in evidence.of_kind("create"):
        if operation.tag == asked.tag:
            operation.outcome, operation.answer = Outcome.UNKNOWN, {}
    lost = asked.fields["tasks"][0]["task_id"]
    if lost not in evidence.tasks:
        # Nothing of it was created: now one task was.
        created = entry(evidence, chance, "task_created")
        after(evidence, created, replace(created, task_id=lost, entry_id="planted"))
    else:
        put_log(evidence, [entry for entry in evidence.log if entry.task_id != lost])
    return "board-all-or-nothing"


@planted
def board_created_twice(evidence: Evidence, chance: random.Random) -> str:
    asked = acknowledged(evidence, chance, "create")
    other = [f"{task_id}-again" for task_id in asked.answer["task_ids"]]
    again = replace(asked, number=10**6, answer={"task_ids": other})
    evidence.operations.append(again)
    return "created-once"


@planted
def effect_without_a_cause(evidence: Evidence, chance: random.Random) -> str:
    text = entry(evidence, chance, "broadcast_sent")
    after(evidence, text, replace(text, details={"message": "unasked"}, entry_id="planted"))
    return "every-entry-has-a-cause"


@planted
def cancellation_without_a_cause(evidence: Evidence, chance: random.Random) -> str:
    asked = acknowledged(evidence, chance, "cancel")
    evidence.operations.remove(asked)
    return "every-entry-has-a-cause"


@planted
def refused_request_that_takes_effect(evidence: Evidence, chance: random.Random) -> str:
    asked = acknowledged(evidence, chance, "progress")
    asked.outcome, asked.reason = Outcome.REFUSED, "StaleAttempt"
    return "refused-has-no-effect"


@planted
def stale_message_that_takes_effect(evidence: Evidence, chance: random.Random) -> str:
    stale = one((op for op in evidence.of_kind("complete") if op.reason), chance)
    given = next(
        e
        for e in evidence.log
        if e.grants and (e.task_id, e.attempt) == (stale.task_id, stale.attempt + 1)
    )
    details = {"cost_micros": int(stale.tag), "charged_micros": int(stale.tag)}
    planted = replace(
        given,
        operation="task_completed",
        attempt=stale.attempt,
        details=details,
        entry_id="planted",
    )
    after(evidence, given, planted)
    return "legal-transitions"


@planted
def task_given_before_its_dependency(evidence: Evidence, chance: random.Random) -> str:
    waits = entry(evidence, chance, "task_unblocked")
    place = evidence.log.index(waits)
    task = evidence.tasks[waits.task_id]
    done = max(
        i
        for i, e in enumerate(evidence.log[:place])
        if e.operation == "task_completed" and e.task_id in task.dependencies
    )
    log = [*evidence.log]
    log.insert(done, replace(log.pop(place), revision=log[done].revision))
    put_log(evidence, log)
    return "dependencies"


@planted
def swarm_with_too_many_tasks(evidence: Evidence, chance: random.Random) -> str:
    joined = next(e for e in evidence.log if e.swarm_id == "bob")
    log = [*evidence.log]
    log[log.index(joined)] = replace(joined, details={"max_concurrent_tasks": 0})
    put_log(evidence, log)
    del chance
    return "slots"


@planted
def swarm_that_nobody_knows(evidence: Evidence, chance: random.Random) -> str:
    without(evidence, next(e for e in evidence.log if e.swarm_id == "bob"))
    del chance
    return "known-swarms"


@planted
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
    put_log(evidence, log)
    return "real-time-order"


@planted
def revision_that_goes_back(evidence: Evidence, chance: random.Random) -> str:
    log = [*evidence.log]
    place = chance.randrange(1, len(log))
    log[place] = replace(log[place], revision=log[place - 1].revision - 1)
    put_log(evidence, log)
    return "log-order"


@planted
def request_id_taken_twice(evidence: Evidence, chance: random.Random) -> str:
    asked = acknowledged(evidence, chance, "create")
    evidence.operations.append(replace(asked, number=10**6, kind="create-reused"))
    return "created-once"
