"""The policy in force."""

from collections.abc import Callable

from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.gate import BudgetFacts, TaskFacts, Violation
from infrafabric_server.governor.policy.models import Policy
from infrafabric_server.governor.policy.naming import DEFAULT_HASH
from infrafabric_server.governor.policy.verdicts import Effective, effective

__all__ = ["Effective", "PolicyBook", "ViolationListener"]

ViolationListener = Callable[[str, str, Violation], None]


class PolicyBook:
    """Hands out the policy in force, ask again for each decision; it is the Judge of claims."""

    def __init__(self, policy: Policy | None = None) -> None:
        self._current = effective(policy or Policy(), DEFAULT_HASH)
        self._followers: list[Callable[[], None]] = []
        self._listeners: list[ViolationListener] = []

    @property
    def current(self) -> Effective:
        """The policy in force now."""
        return self._current

    def install(self, policy: Effective) -> None:
        """Put a policy in force."""
        self._current = policy
        for changed in self._followers:
            changed()

    def follow(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when another policy has come into force."""
        self._followers.append(changed)

    def violation(
        self, task: TaskFacts, swarm: SwarmProfile, budget: BudgetFacts, fabric: BudgetFacts
    ) -> Violation | None:
        """See Judge."""
        return self._current.violation(task, swarm, budget, fabric)

    def subscribe(self, listener: ViolationListener) -> None:
        """Have `listener` called with swarm, task and violation; it does not wait and not raise."""
        self._listeners.append(listener)

    def violated(self, swarm_id: str, task_id: str, violation: Violation) -> None:
        """Tell the listeners that a rule kept a task from a swarm that was to have it."""
        for listener in self._listeners:
            listener(swarm_id, task_id, violation)
