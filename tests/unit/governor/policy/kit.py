"""What the tests of policies share."""

from datetime import UTC, datetime, timedelta

from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.gate import BudgetFacts, TaskFacts
from infrafabric_server.governor.policy.checking import check
from infrafabric_server.governor.policy.models import Policy
from infrafabric_server.governor.policy.verdicts import Effective

_NOW = datetime(2026, 1, 2, tzinfo=UTC)


def loaded(text: str) -> Effective:
    """Return the policy of a text that is good."""
    checked = check(text.encode())
    assert checked.effective is not None, checked.problems
    return checked.effective


def problems(text: str | bytes) -> list[tuple[str, int, str]]:
    """Return the path, line and text of each problem."""
    checked = check(text if isinstance(text, bytes) else text.encode())
    assert (checked.effective is None) is bool(checked.problems)
    return [(each.path, each.line, each.problem) for each in checked.problems]


def task(
    task_id: str = "t",
    *,
    amount: int = 1,
    needs: frozenset[str] = frozenset(),
    title: str = "",
    priority: int = 0,
) -> TaskFacts:
    """Return a task to claim."""
    return TaskFacts(
        task_id=task_id,
        title=title,
        required_capabilities=needs,
        priority=priority,
        filler=False,
        preferred_model="",
        estimated_duration=timedelta(minutes=2),
        max_cost_micros=amount,
        amount_micros=amount,
        spent_micros=0,
        attempt=1,
        failures=0,
    )


def swarm(
    swarm_id: str = "s", *, model: str = "", can: frozenset[str] = frozenset()
) -> SwarmProfile:
    """Return a swarm that claims."""
    return SwarmProfile(
        swarm_id=swarm_id, capabilities=can, model=model, create_time=_NOW, update_time=_NOW
    )


def account(limit: int | None = None, spent: int = 0, reserved: int = 0) -> BudgetFacts:
    """Return the numbers of an account."""
    return BudgetFacts("swarm/s", limit, spent, reserved)


def rule_of(
    policy: Effective,
    what: TaskFacts | None = None,
    who: SwarmProfile | None = None,
    budget: BudgetFacts | None = None,
) -> str:
    """Return the rule that denies a claim; empty when it is allowed."""
    found = policy.violation(what or task(), who or swarm(), budget or account(), account())
    return found.rule if found is not None else ""


def with_rule(when: str) -> str:
    """Return the text of a policy with one rule `r`."""
    return f"rules:\n- name: r\n  when: |-\n    {when}\n  deny: denied\n"


DEFAULTS = Policy()
