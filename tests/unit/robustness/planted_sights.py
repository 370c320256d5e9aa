"""Faults in what clients saw, in the log itself and in what was left at the end."""

import random
from dataclasses import replace
from itertools import pairwise

from tests.robustness.evidence import Evidence, FinalStatus
from tests.robustness.history import Observation, Operation, Outcome
from tests.unit.robustness.planting import (
    Plant,
    acknowledged,
    after,
    change_seen,
    into,
    one,
)

PLANTS: list[Plant] = []
planted = into(PLANTS)


@planted
def read_from_the_past(evidence: Evidence, chance: random.Random) -> str:
    done = acknowledged(evidence, chance, "complete")
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


@planted
def read_of_what_never_was(evidence: Evidence, chance: random.Random) -> str:
    acknowledged(evidence, chance, "get").answer["attempt"] = 77
    return "reads-are-current"


@planted
def hole_in_a_task_watch(evidence: Evidence, chance: random.Random) -> str:
    change_seen(evidence, one(list(evidence.seen("task-changed"))[:-2], chance))
    return "watch-holes"


@planted
def repeat_in_a_task_watch(evidence: Evidence, chance: random.Random) -> str:
    seen = one(evidence.seen("task-changed"), chance)
    change_seen(evidence, seen, seen, replace(seen))
    return "watch-once"


@planted
def task_watch_that_goes_back(evidence: Evidence, chance: random.Random) -> str:
    changes = [s for s in evidence.seen("task-changed") if s.client == "watcher-0"]
    pairs = [(a, b) for a, b in pairwise(changes) if a.fields["cursor"] != b.fields["cursor"]]
    first, second = one(pairs, chance)
    at, to = evidence.observations.index(first), evidence.observations.index(second)
    evidence.observations[at], evidence.observations[to] = second, first
    return "watch-order"


@planted
def task_watch_that_lies(evidence: Evidence, chance: random.Random) -> str:
    seen = one(evidence.seen("task-changed"), chance)
    change_seen(evidence, seen, replace(seen, fields={**seen.fields, "owner": "eve"}))
    return "watch-truth"


@planted
def snapshot_that_lies(evidence: Evidence, chance: random.Random) -> str:
    end = next(evidence.seen("task-snapshot-end"))
    shown = {"task_id": "x", "state": "AVAILABLE", "attempt": 0, "owner": "", "parked": False}
    evidence.observations.insert(0, Observation(end.client, "task-snapshot", 0.0, shown))
    del chance
    return "watch-snapshot"


@planted
def text_that_a_watcher_missed(evidence: Evidence, chance: random.Random) -> str:
    texts = [s for s in evidence.seen("status-changed") if s.client == "watcher-0"]
    change_seen(evidence, one(texts[:-1], chance))
    return "watch-holes"


@planted
def status_that_one_watcher_saw(evidence: Evidence, chance: random.Random) -> str:
    texts = [s for s in evidence.seen("status-changed") if s.client == "watcher-0"]
    seen = one(texts[:-1], chance)
    told = {"cursor": seen.fields["cursor"], "what": "status", "about": "ada", "status": "BUSY"}
    more = replace(seen, fields={**told, "message": ""})
    change_seen(evidence, seen, seen, more)
    return "watch-agreement"


@planted
def text_heard_twice(evidence: Evidence, chance: random.Random) -> str:
    seen = one(evidence.seen("text"), chance)
    change_seen(evidence, seen, seen, replace(seen))
    return "text-once"


@planted
def frame_that_a_stream_left_out(evidence: Evidence, chance: random.Random) -> str:
    one(evidence.seen("stream"), chance).fields["sequences"] = [1, 3]
    return "stream-order"


@planted
def entry_that_a_tail_left_out(evidence: Evidence, chance: random.Random) -> str:
    change_seen(evidence, one(list(evidence.seen("tail"))[1:-1], chance))
    return "tail-holes"


@planted
def entry_that_was_changed(evidence: Evidence, chance: random.Random) -> str:
    place = chance.randrange(len(evidence.log))
    entry = evidence.log[place]
    evidence.log[place] = replace(entry, body=entry.body.replace("}", " }", 1))
    return "witness-chain"


@planted
def entry_that_was_cut_out(evidence: Evidence, chance: random.Random) -> str:
    del evidence.log[chance.randrange(len(evidence.log) - 1)]
    return "witness-chain"


@planted
def entry_that_was_sealed_twice(evidence: Evidence, chance: random.Random) -> str:
    entry = one(evidence.log, chance)
    after(evidence, entry, replace(entry))
    return "witness-once"


@planted
def replica_with_another_log(evidence: Evidence, chance: random.Random) -> str:
    del evidence.logs["server-1"][-chance.randint(1, 3) :]
    return "witness-one-log"


@planted
def task_that_is_not_as_logged(evidence: Evidence, chance: random.Random) -> str:
    task = one(evidence.tasks.values(), chance)
    evidence.tasks[task.task_id] = replace(task, attempt=task.attempt + 1)
    return "state-is-the-log"


@planted
def task_that_vanished(evidence: Evidence, chance: random.Random) -> str:
    del evidence.tasks[one(evidence.tasks, chance)]
    return "state-is-the-log"


@planted
def blocker_that_nobody_reported(evidence: Evidence, chance: random.Random) -> str:
    evidence.blockers.add(("ada", one(evidence.tasks, chance)))
    return "state-is-the-log"


@planted
def completion_counted_twice(evidence: Evidence, chance: random.Random) -> str:
    status = one(evidence.statuses.values(), chance)
    more = FinalStatus(status.swarm_id, "IDLE", status.tasks_completed + 1, status.cost_micros)
    evidence.statuses[status.swarm_id] = more
    return "completions-counted-once"


@planted
def task_that_is_stuck(evidence: Evidence, chance: random.Random) -> str:
    task = one(evidence.tasks.values(), chance)
    evidence.tasks[task.task_id] = replace(task, state="AVAILABLE")
    return "nothing-is-stuck"


@planted
def server_that_died(evidence: Evidence, chance: random.Random) -> str:
    evidence.observations.append(Observation("server-0", "server-died", 1.0, {"why": "a bug"}))
    del chance
    return "server-died"


@planted
def gap_without_a_reason(evidence: Evidence, chance: random.Random) -> str:
    seen = one(evidence.seen("task-changed"), chance)
    evidence.observations.append(replace(seen, kind="task-gap", fields={}))
    return "watch-gap"


@planted
def fabric_that_does_not_come_back(evidence: Evidence, chance: random.Random) -> str:
    evidence.observations.append(Observation("finale", "unavailable", 1.0, {"why": "no answer"}))
    del chance
    return "comes-back"
