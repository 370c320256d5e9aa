"""The figures of a run, computed from its evidence, and how they are told."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from demo.check.evidence import Evidence
from demo.check.invariants import Finding


@dataclass(frozen=True, slots=True)
class Latency:
    """A latency in milliseconds, as percentiles of `count` measurements."""

    count: int
    p50: float
    p99: float

    def __str__(self) -> str:
        if not self.count:
            return "not measured"
        return f"p50 {self.p50:.1f} ms   p99 {self.p99:.1f} ms   ({self.count} measured)"


def latency(seconds: Sequence[float]) -> Latency:
    """Return the percentiles by nearest rank: of few measurements the p99 is the worst."""
    if not seconds:
        return Latency(0, 0.0, 0.0)
    ordered = sorted(seconds)

    def rank(share: float) -> float:
        return ordered[math.ceil(share * len(ordered)) - 1] * 1000

    return Latency(len(ordered), rank(0.5), rank(0.99))


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a run.

    `completions` counts the tasks of the board by how often the log has them completed;
    `attempts` has the number of claims that each task took. `cost_micros` is simulated.
    """

    tasks: int
    completions: Counter[int]
    attempts: Counter[str]
    fenced: int
    lost_claims: int
    push: Latency
    claim: Latency
    cost_micros: int
    entries: int


def summarize(evidence: Evidence) -> Summary:
    """Compute the figures of a run."""
    logged = Counter(entry.task_id for entry in evidence.entries("task_completed"))
    granted = Counter(entry.task_id for entry in evidence.grants())
    tasks = [task.id for task in evidence.board.tasks]
    return Summary(
        tasks=len(tasks),
        completions=Counter(logged[task_id] for task_id in tasks),
        attempts=granted,
        fenced=_counted(evidence, "message_fenced"),
        lost_claims=_counted(evidence, "claim_refused"),
        push=latency(list(_pushes(evidence))),
        claim=latency([each.fields["seconds"] for each in evidence.records("claimed")]),
        cost_micros=sum(
            entry.details.get("cost_micros", 0) for entry in evidence.entries("task_completed")
        ),
        entries=len(evidence.log),
    )


def _counted(evidence: Evidence, operation: str) -> int:
    return sum(int(entry.details.get("count", 1)) for entry in evidence.entries(operation))


def _pushes(evidence: Evidence) -> Iterator[float]:
    decided = {
        (entry.swarm_id, *entry.claim): entry.time for entry in evidence.entries("task_assigned")
    }
    for record in evidence.records("received"):
        time = decided.get((record.swarm_id, *record.claim))
        if time is not None and record.time is not None:
            yield record.time - time


def lines(evidence: Evidence, summary: Summary, findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the summary as lines for people, the verdict last."""
    done = summary.tasks - summary.completions[0]
    once = summary.completions[1]
    yield "Summary, from the sessions' own journals and the exported witness log"
    yield f"  tasks completed    {done} of {summary.tasks}, {_exactly(once, done)}"
    yield f"  attempts           {summary.attempts.total()} claims; {_repeated(summary.attempts)}"
    yield f"  fenced messages    {summary.fenced}, refused because their claim was over"
    yield f"  lost claims        {summary.lost_claims}"
    yield f"  push latency       {summary.push}"
    yield "                     from the time of decision in the log to the agent's receipt"
    yield f"  claim latency      {summary.claim}"
    yield "                     from the agent's claim to its receipt of the task"
    yield (
        f"  simulated work     {sum(task.hours for task in evidence.board.tasks)} h, an hour in "
        f"{evidence.second_per_hour:g} s, for {summary.cost_micros / 1e6:.2f} simulated USD"
    )
    yield f"  witness log        {summary.entries} entries"
    yield ""
    yield "Invariants"
    for finding in findings:
        yield f"  {'✗' if finding.violations else '✓'} {finding.name}"
        yield from (f"      {violation}" for violation in finding.violations)
    yield ""
    broken = [finding.name for finding in findings if finding.violations]
    if broken:
        yield f"FAILED: broken {'invariant' if len(broken) == 1 else 'invariants'}: " + ", ".join(
            broken
        )
    else:
        yield f"OK: all {len(findings)} invariants hold"


def _exactly(once: int, done: int) -> str:
    return "each exactly once" if once == done else f"{once} of them exactly once"


def _repeated(attempts: Counter[str]) -> str:
    repeated = [f"{task_id} took {count}" for task_id, count in attempts.items() if count > 1]
    return ", ".join(repeated) or "no task took more than one"
