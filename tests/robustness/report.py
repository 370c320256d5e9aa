"""What a run found, for people."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.robustness.check import Violation
from tests.robustness.evidence import Evidence
from tests.robustness.run import Plan

# Of the history around a violation so many lines are shown.
_SLICE = 30
# Violations that are shown with their history; one cause often has many.
_SHOWN = 4


def command(plan: Plan) -> str:
    """Return the command line that repeats a run."""
    faults = "" if plan.faults is None else f" --faults {','.join(plan.faults) or 'none'}"
    return (
        f"python -m tests.robustness --setup {plan.setup} --seconds {plan.seconds:g} "
        f"--seed {plan.seed}{faults}"
    )


def lines(plan: Plan, evidence: Evidence, violations: Sequence[Violation]) -> Iterator[str]:
    """Yield the report, the verdict last."""
    yield f"{plan.setup}, {plan.seconds:g} s, seed {plan.seed}"
    yield ""
    outcomes = Counter((op.kind, op.outcome.value) for op in evidence.operations)
    kinds = sorted({kind for kind, _ in outcomes})
    yield f"  {'operations':20} {'ok':>8} {'refused':>8} {'unknown':>8}"
    for kind in kinds:
        yield f"  {kind:20}" + "".join(
            f" {outcomes[kind, outcome]:8}" for outcome in ("ok", "refused", "unknown")
        )
    yield f"  {len(evidence.operations)} in all, {len(evidence.log)} entries in the witness log"
    yield ""
    faults = Counter(str(seen.fields["name"]) for seen in evidence.seen("fault"))
    yield "  faults: " + (", ".join(f"{n} {c}" for n, c in sorted(faults.items())) or "none")
    yield ""
    if not violations:
        yield "OK: no violation"
        return
    for violation in violations[:_SHOWN]:
        yield f"  ✗ {violation.check}: {violation.text}"
        yield from (f"      {line}" for line in history_of(evidence, violation))
    for check, count in Counter(violation.check for violation in violations).items():
        yield f"  {check}: {count}"
    yield f"FAILED: {len(violations)} violations; once more with"
    yield f"  {command(plan)}"


def history_of(evidence: Evidence, violation: Violation) -> list[str]:
    """Return what the history and the log say of the task of a violation, or of its swarm."""
    task_id, swarm_id = violation.task_id, violation.swarm_id
    if not (task_id or swarm_id):
        return []

    def about(names: dict[str, object]) -> bool:
        if task_id:
            asked = names.get("tasks")
            boards = [each["task_id"] for each in asked] if isinstance(asked, list) else []
            return names.get("task_id") == task_id or task_id in boards
        return swarm_id in (names.get("swarm_id"), names.get("about"))

    start = min((op.invoked for op in evidence.operations), default=0.0)
    told: list[tuple[float, str]] = []
    for op in evidence.operations:
        if about(op.fields):
            ended = "" if op.returned is None else f" after {op.returned - op.invoked:.3f} s"
            answer = f"{op.outcome}{ended} {op.reason} {op.answer or ''}"
            what = {k: v for k, v in op.fields.items() if k != "tasks"}
            told.append((op.invoked, f"{op.client} {op.kind} {op.tag} {what}: {answer}"))
    for seen in evidence.observations:
        if about(seen.fields):
            told.append((seen.at, f"{seen.client} {seen.kind} {seen.fields}"))
        elif seen.kind in ("fault", "healed"):
            told.append((seen.at, f"{seen.kind} {seen.fields}"))
    shown = [f"{at - start:9.3f}  {text}" for at, text in sorted(told)]
    entries = [
        f"entry {e.sequence} (revision {e.revision}): {e.operation} {e.task_id} "
        f"attempt {e.attempt} {e.swarm_id} {e.details}"
        for e in evidence.log
        if (e.task_id == task_id if task_id else e.swarm_id == swarm_id)
    ]
    return [*_clipped(shown), *_clipped(entries)]


def _clipped(told: list[str]) -> list[str]:
    return told if len(told) <= _SLICE else [*told[:5], "…", *told[5 - _SLICE :]]
