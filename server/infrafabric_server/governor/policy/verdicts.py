"""What a policy says of a claim: its own limit first, then its rules in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.gate import BudgetFacts, TaskFacts, Violation
from infrafabric_server.governor.money import usd
from infrafabric_server.governor.policy.cases import (
    MAX_TASK_COST,
    Case,
    CaseAccount,
    CaseSwarm,
    CaseTask,
)
from infrafabric_server.governor.policy.document import Value
from infrafabric_server.governor.policy.expressions import (
    Condition,
    ExpressionError,
    Facts,
    compiled,
)
from infrafabric_server.governor.policy.models import Policy

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Effective:
    """A policy in force, the SHA-256 of its file in hex (that of nothing for the defaults).

    `conditions` are those of its rules.
    """

    policy: Policy
    hash: str
    conditions: Sequence[Condition] = ()

    def violation(
        self, task: TaskFacts, swarm: SwarmProfile, budget: BudgetFacts, fabric: BudgetFacts
    ) -> Violation | None:
        """Return the first rule that denies a claim; one that has no answer denies it, too."""
        limit = self.policy.budgets_for(
            task.task_id, task.required_capabilities
        ).max_task_cost_micros
        if limit is not None and task.amount_micros > limit:
            return Violation(MAX_TASK_COST, over(limit, task.amount_micros), self.hash)
        if not self.conditions:
            return None
        facts = Facts(_values(task, swarm, budget, fabric))
        for rule, condition in zip(self.policy.rules, self.conditions, strict=True):
            try:
                if condition.holds(facts):
                    return Violation(rule.name, rule.deny, self.hash)
            except ExpressionError as error:
                told = f"the rule has no answer ({error}), so it denies: {rule.deny}"
                return Violation(rule.name, told, self.hash)
        return None


def effective(policy: Policy, digest: str) -> Effective:
    """Return a policy with its rules compiled. Raises ExpressionError for a rule that is wrong."""
    return Effective(policy, digest, tuple(compiled(rule.when) for rule in policy.rules))


def over(limit: int, amount: int) -> str:
    """Return why a task may not cost so much."""
    return f"the task may cost {usd(amount)}; the policy's {MAX_TASK_COST} is {usd(limit)}"


def outcome(policy: Effective, case: Case) -> Violation | None:
    """Return what comes of the claim of a case."""
    return policy.violation(
        _task(case.task, policy.policy),
        _swarm(case.swarm),
        _account("swarm", case.budget),
        _account("fabric", case.fabric),
    )


def _values(
    task: TaskFacts, swarm: SwarmProfile, budget: BudgetFacts, fabric: BudgetFacts
) -> dict[str, Value]:
    seconds = (task.estimated_duration or timedelta()) // _SECOND
    return {
        "task.id": task.task_id,
        "task.title": task.title,
        "task.required_capabilities": [*sorted(task.required_capabilities)],
        "task.priority": task.priority,
        "task.filler": task.filler,
        "task.preferred_model": task.preferred_model,
        "task.estimated_seconds": seconds,
        "task.max_cost_micros": task.amount_micros,
        "task.spent_micros": task.spent_micros,
        "task.attempt": task.attempt,
        "task.failures": task.failures,
        "swarm.id": swarm.swarm_id,
        "swarm.capabilities": [*sorted(swarm.capabilities)],
        "swarm.cost_per_hour_micros": swarm.cost_per_hour_micros,
        "swarm.model": swarm.model,
        "swarm.max_concurrent_tasks": swarm.max_concurrent_tasks,
        "swarm.credential_pool": swarm.credential_pool,
        **_money("budget", budget),
        **_money("fabric", fabric),
    }


def _money(name: str, account: BudgetFacts) -> dict[str, Value]:
    return {
        f"{name}.limited": account.limit_micros is not None,
        f"{name}.limit_micros": account.limit_micros or 0,
        f"{name}.spent_micros": account.spent_micros,
        f"{name}.reserved_micros": account.reserved_micros,
        f"{name}.available_micros": account.available_micros or 0,
    }


def _task(case: CaseTask, policy: Policy) -> TaskFacts:
    required = frozenset(case.required_capabilities)
    amount = case.max_cost_micros
    if amount is None:
        amount = policy.budgets_for(case.id, required).default_micros
    return TaskFacts(
        task_id=case.id,
        title=case.title,
        required_capabilities=required,
        priority=case.priority,
        filler=case.filler,
        preferred_model=case.preferred_model,
        estimated_duration=timedelta(seconds=case.estimated_seconds),
        max_cost_micros=case.max_cost_micros,
        amount_micros=amount,
        spent_micros=case.spent_micros,
        attempt=case.attempt,
        failures=case.failures,
    )


def _swarm(case: CaseSwarm) -> SwarmProfile:
    # No rule sees the times.
    never = datetime.fromtimestamp(0, UTC)
    return SwarmProfile.model_construct(
        swarm_id=case.id,
        capabilities=frozenset(case.capabilities),
        cost_per_hour_micros=case.cost_per_hour_micros,
        model=case.model,
        max_concurrent_tasks=case.max_concurrent_tasks,
        credential_pool=case.credential_pool,
        create_time=never,
        update_time=never,
    )


def _account(name: str, case: CaseAccount) -> BudgetFacts:
    return BudgetFacts(name, case.limit_micros, case.spent_micros, case.reserved_micros)
