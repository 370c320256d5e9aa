"""The policy in force."""

import hashlib
from collections.abc import Callable

from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.gate import BudgetFacts, TaskFacts, Violation
from infrafabric_server.governor.policy.models import Policy
from infrafabric_server.governor.policy.verdicts import Effective, effective

__all__ = ["Effective", "PolicyBook", "ViolationListener"]

ViolationListener = Callable[[str, str, Violation], None]


class PolicyBook:
    """Hands out the policy in force, ask again for each decision; and judges by it.

    It is the Judge of claims. Whoever subscribes is called with swarm, task and violation each
    time that a rule denies a claim or an assignment; they must not wait and not raise.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self._current = effective(policy or Policy(), hashlib.sha256(b"").hexdigest())
        self._listeners: list[ViolationListener] = []

    @property
    def current(self) -> Effective:
        """The policy in force now."""
        return self._current

    def install(self, policy: Effective) -> None:
        """Put a policy in force."""
        self._current = policy

    def subscribe(self, listener: ViolationListener) -> None:
        """Have `listener` called for each violation."""
        self._listeners.append(listener)

    def violation(
        self, task: TaskFacts, swarm: SwarmProfile, budget: BudgetFacts, fabric: BudgetFacts
    ) -> Violation | None:
        """See Judge."""
        found = self._current.violation(task, swarm, budget, fabric)
        if found is not None:
            for listener in self._listeners:
                listener(swarm.swarm_id, task.task_id, found)
        return found
