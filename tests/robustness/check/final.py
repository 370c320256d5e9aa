"""What the fabric is like after all: as its log tells, with nothing left undone."""

from collections import Counter
from collections.abc import Iterator

from infrafabric_server.witness.chain import GENESIS, link_hash
from tests.robustness.check.replay import Replay
from tests.robustness.check.tasks import ENDED
from tests.robustness.check.violation import Violation
from tests.robustness.evidence import LAST_TEXT, REPORTED, Entry, Evidence


def chain(evidence: Evidence) -> Iterator[Violation]:
    """Each log is one unbroken chain, and all servers have the same one."""
    for server, log in evidence.logs.items():
        previous = GENESIS
        for expected, entry in enumerate(log, start=1):
            fault = _link_fault(entry, expected, previous)
            if fault:
                yield Violation("witness-chain", f"the log of {server}: {fault}")
                break
            previous = entry.hash
        yield from _same_log(server, log, evidence.log)
    ids = Counter(entry.entry_id for entry in evidence.log)
    for entry_id, count in ids.items():
        if count > 1:
            yield Violation("witness-once", f"entry {entry_id} is in the log {count} times")


def _same_log(server: str, log: list[Entry], first: list[Entry]) -> Iterator[Violation]:
    """The logs are read one after another: what is decided after the end is in the later ones."""
    for ours, theirs in zip(log, first, strict=False):
        if ours.hash != theirs.hash:
            text = f"{server} has another entry {ours.sequence} than the first server"
            yield Violation("witness-one-log", text)
            return
    if len(log) != len(first) and not (_ended(log) and _ended(first)):
        text = f"{server} has {len(log)} entries, and the first server {len(first)}"
        yield Violation("witness-one-log", text)


def _ended(log: list[Entry]) -> bool:
    return any(entry.details.get("message") == LAST_TEXT for entry in log)


def _link_fault(entry: Entry, expected: int, previous: str) -> str:
    if entry.sequence != expected:
        return f"entry {expected} is missing, entry {entry.sequence} comes instead"
    if entry.previous_hash != previous:
        return f"entry {expected} does not follow the one before"
    if entry.hash != link_hash(previous, entry.body):
        return f"entry {expected} was changed: its hash is not that of its body"
    return ""


def state(evidence: Evidence, replay: Replay) -> Iterator[Violation]:
    """Tasks and blockers are what the log makes of them, no more and no fewer."""
    for task_id in replay.versions.keys() | evidence.tasks.keys():
        life, task = replay.life(task_id), evidence.tasks.get(task_id)
        if task is None or life is None:
            which = "the log" if task is None else "the fabric"
            yield Violation("state-is-the-log", f"only {which} knows {task_id}", task_id)
            continue
        owner, cost = life.shown_owner, life.cost_micros
        told = (life.state, life.attempt, owner, life.milestone, life.failures, life.parked, cost)
        there = (
            *(task.state, task.attempt, task.owner, task.milestone),
            *(task.failures, task.parked, task.cost_micros),
        )
        if told != there:
            yield Violation(
                "state-is-the-log", f"{task_id} is {there}, and the log says {told}", task_id
            )
    for swarm_id, task_id in replay.blockers ^ evidence.blockers:
        yield Violation(
            "state-is-the-log",
            f"only one of log and fabric has the blocker of {swarm_id} on {task_id or 'itself'}",
            task_id,
            swarm_id,
        )


def statuses(evidence: Evidence) -> Iterator[Violation]:
    """Every completion was counted once, for the swarm whose it is, and every reported rise."""
    done: Counter[str] = Counter()
    cost: Counter[str] = Counter()
    left = {entry.swarm_id for entry in evidence.entries("swarm_deregistered")}
    for entry in evidence.entries("task_completed"):
        done[entry.swarm_id] += 1
        cost[entry.swarm_id] += int(entry.details["cost_micros"])
    for entry in evidence.entries("cost_tracked"):
        if entry.details["operation"] == REPORTED:
            cost[entry.swarm_id] += int(entry.details["cost_micros"])
    for swarm_id, status in evidence.statuses.items():
        told = (status.tasks_completed, status.cost_micros)
        if swarm_id not in left and told != (done[swarm_id], cost[swarm_id]):
            yield Violation(
                "completions-counted-once",
                f"{swarm_id} has {told} completed tasks and micro-dollars, and the log says "
                f"{(done[swarm_id], cost[swarm_id])}",
                swarm_id=swarm_id,
            )


def liveness(evidence: Evidence) -> Iterator[Violation]:
    """When all faults were over and the fleet idled, nothing was left to do."""
    for task in evidence.tasks.values():
        if task.state not in ENDED:
            yield Violation(
                "nothing-is-stuck",
                f"{task.task_id} was still {task.state} (attempt {task.attempt}, "
                f"{task.owner or 'nobody'}) when everybody had waited for it",
                task.task_id,
            )


def servers(evidence: Evidence) -> Iterator[Violation]:
    """No server ended by itself, and each one that was asked to end did so well."""
    for seen in evidence.seen("server-died", "server-ended-badly", "watcher-behind"):
        yield Violation(seen.kind, f"{seen.client}: {seen.fields['why']}")
