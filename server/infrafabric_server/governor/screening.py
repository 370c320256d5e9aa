"""Why a swarm that fits a task may not be given it now."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.budget.rules import BudgetFacts, explain
from infrafabric_server.governor.gate import Gate, TaskFacts
from infrafabric_server.governor.models import ExclusionRule
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.optimise.models import FABRIC, swarm_account
from infrafabric_server.store.view import View


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first rule that keeps a task from a swarm; `detail` has its numbers."""

    rule: ExclusionRule
    detail: str


Screened = Callable[[str], Refusal | None]
"""Tells why a swarm may not be given a certain task now; None when it may."""


class Room(Protocol):
    """Knows how many tasks swarms work on."""

    def free_slots(self, swarm_id: str) -> int:
        """Return how many more tasks a swarm may work on; 0 or less for none."""
        ...


class Screening:
    """The rules after ability and price: breaker, budget, policy, slot, in this order."""

    def __init__(
        self,
        swarms: View[SwarmProfile],
        gate: Gate,
        accounts: Accounts,
        policies: PolicyBook,
        room: Room,
    ) -> None:
        self._swarms = swarms
        self._gate = gate
        self._accounts = accounts
        self._policies = policies
        self._room = room

    def of(self, task: TaskFacts, budget: BudgetFacts | None = None) -> Screened:
        """Return what tells why swarms may not be given a task; `budget` is the task's account.

        It knows the policy and the fabric's account as they are now; ask again for the next
        question. Refusals here are not reported to those who listen for violations of the policy.
        """
        policy = self._policies.current
        fabric = self._accounts.facts(FABRIC)
        amount = task.amount_micros

        def refusal(swarm_id: str) -> Refusal | None:
            profile = self._swarms.get(swarm_id)
            if profile is None:
                return None
            closed = self._gate.closed(swarm_id)
            if closed is not None:
                return Refusal(ExclusionRule.BREAKER, closed.detail)
            own = self._accounts.facts(swarm_account(swarm_id))
            for account in (own, fabric) if budget is None else (budget, own, fabric):
                if not account.covers(amount):
                    return Refusal(ExclusionRule.BUDGET, explain(account, amount))
            violation = policy.violation(task, profile, own, fabric)
            if violation is not None:
                detail = f"rule {violation.rule}: {violation.detail}"
                return Refusal(ExclusionRule.POLICY, detail)
            if self._room.free_slots(swarm_id) <= 0:
                most = profile.max_concurrent_tasks
                detail = f"works on as many tasks at once as it may: {most}"
                return Refusal(ExclusionRule.NO_SLOT, detail)
            return None

        return refusal
