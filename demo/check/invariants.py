"""The invariants that a run must keep, by name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from demo.check import boxed, incidents, ledger, rescue, trial
from demo.check.evidence import Evidence

Check = Callable[[Evidence], Iterator[str]]

INVARIANTS: dict[str, Check] = {
    "witness-chain": ledger.witness_chain,
    "every-session-reported": ledger.every_session_reported,
    "every-task-done": ledger.every_task_done,
    "one-completion-per-task": ledger.one_completion_per_task,
    "acknowledged-completion-is-in-the-witness-log": ledger.acknowledged_completions_are_logged,
    "one-owner-per-attempt": ledger.one_owner_per_attempt,
    "attempts-only-grow": ledger.attempts_only_grow,
    "dependencies-respected": ledger.dependencies_respected,
    "killed-task-was-taken-over": incidents.killed_task_was_taken_over,
    "late-message-was-refused": incidents.late_message_was_refused,
    "blocked-session-got-a-filler": incidents.blocked_session_got_a_filler,
    "blocker-reached-the-orchestrator": incidents.blocker_reached_the_orchestrator,
    "help-was-answered": incidents.help_was_answered,
    "two-sessions-helped": rescue.two_sessions_helped,
    "help-ended-with-the-blocker": rescue.help_ended_with_the_blocker,
    "the-helped-paid-the-helpers": rescue.the_helped_paid_the_helpers,
    "the-module-did-its-task": boxed.the_module_did_its_task,
    "failures-opened-the-breaker": trial.failures_opened_the_breaker,
    "a-person-closed-the-breaker": trial.a_person_closed_the_breaker,
    "the-budget-held": trial.the_budget_held,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one invariant; it holds when there are no violations."""

    name: str
    violations: tuple[str, ...]


def judge(evidence: Evidence) -> list[Finding]:
    """Return a finding for every invariant, in their order."""
    return [Finding(name, tuple(check(evidence))) for name, check in INVARIANTS.items()]
