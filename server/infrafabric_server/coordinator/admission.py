"""Whether a claim is admitted: holds, breakers and rules first, then money."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from infrafabric_server.coordinator.models import Refusal, Task, TaskClaim
from infrafabric_server.coordinator.records import Fact
from infrafabric_server.coordinator.shortages import ANYONE, Shortages
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.governor.budget.accounts import Accounts, Reservation
from infrafabric_server.governor.budget.rules import BudgetFacts, explain, short
from infrafabric_server.governor.gate import Barrier, Gate, Judge, TaskFacts, Violation
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.naming import named
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.models import FABRIC, swarm_account
from infrafabric_server.store.protocol import Compare, unchanged

# Operations of the witness log that a claim is admitted for.
_CLAIMS = frozenset({"claim_won", "task_assigned"})
_REFUSALS = {Barrier.HOLD: Refusal.HOLD, Barrier.BREAKER_OPEN: Refusal.BREAKER_OPEN}


class ClaimRefused(Exception):  # an answer to a claimant, not a failure
    """A claim is not admitted; `detail` is for people, `violation` is of the policy's rules.

    `lacking` is the account that does not cover it, as it was then.
    """

    def __init__(
        self,
        swarm_id: str,
        task_id: str,
        refusal: Refusal,
        detail: str,
        violation: Violation | None = None,
        lacking: BudgetFacts | None = None,
    ) -> None:
        super().__init__(detail)
        self.violation = violation
        self.lacking = lacking
        self.swarm_id = swarm_id
        self.task_id = task_id
        self.refusal = refusal
        self.detail = detail


class Admission:
    """Decides in memory, on the views and on what is being written here.

    Whoever writes the claim compares what the decision saw: see `compares`.
    """

    def __init__(
        self,
        fleet: Fleet,
        ledger: Ledger,
        accounts: Accounts,
        policies: PolicyBook,
        gate: Gate,
        judge: Judge | None,
        shortages: Shortages,
    ) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._accounts = accounts
        self._policies = policies
        self._gate = gate
        self._judge = judge
        self._shortages = shortages

    def amount(self, task: Task) -> int:
        """Return what a claim of the task reserves."""
        if task.spec.max_cost_micros is not None:
            return task.spec.max_cost_micros
        policy = self._policies.current.policy
        budgets = policy.budgets_for(task.task_id, task.spec.required_capabilities)
        return budgets.default_micros

    def facts(self, task: Task) -> TaskFacts:
        """Return what rules may know of a task, with what its next claim reserves."""
        return _facts(task, self.amount(task))

    @property
    def policy_hash(self) -> str:
        """The hash of the policy that `check` decides by."""
        return self._policies.current.hash

    def judged(self, facts: Iterable[Fact]) -> list[Fact]:
        """Return facts, those of claims with the policy that admits them now."""
        return [
            replace(fact, details={**fact.details, "policy_hash": self.policy_hash})
            if fact.operation in _CLAIMS
            else fact
            for fact in facts
        ]

    def affordable(self, task: Task) -> bool:
        """Tell whether the task's own account covers a claim; otherwise no swarm is admitted."""
        account = BudgetFacts(task.task_id, task.budget_limit_micros, task.spent_micros, 0)
        return account.covers(self.amount(task))

    def covered(self, amount: int) -> bool:
        """Tell whether the fabric's account covers an amount, whoever claims."""
        facts = self._accounts.facts(FABRIC)
        if not facts.covers(amount):
            self._shortages.note(ANYONE, facts, amount)
            return False
        return True

    def forget(self, swarm_id: str) -> None:
        """Forget what a swarm lacks that was deregistered."""
        self._shortages.forget(swarm_id)

    def shut(self, swarm_id: str) -> bool:
        """Tell whether a swarm would be refused every task, so that none need be tried."""
        if self._gate.closed(swarm_id) is not None:
            return True
        lacking = short((self._accounts.facts(each) for each in _accounts(swarm_id)), 0)
        if lacking is not None:
            self._shortages.note(swarm_id, lacking, 0)
        return lacking is not None

    def refusal(self, task: Task, swarm_id: str) -> ClaimRefused | None:
        """Return why a claim of the task by the swarm would be refused now, by the views."""
        try:
            self.check(task, swarm_id, self.amount(task))
        except ClaimRefused as refused:
            return refused
        return None

    def check(self, task: Task, swarm_id: str, amount: int, *, reserved: int | None = None) -> None:
        """Raise ClaimRefused unless the swarm may claim the task and reserve so much.

        `reserved` is what its account has reserved, if that is known better than here: then the
        fabric's money is held for it already.
        """
        closed = self._gate.closed(swarm_id)
        if closed is not None:
            raise ClaimRefused(swarm_id, task.task_id, _REFUSALS[closed.barrier], closed.detail)
        own = self._accounts.facts(swarm_account(swarm_id), reserved=reserved)
        fabric = self._accounts.facts(FABRIC)
        profile = self._fleet.swarms.get(swarm_id)
        if self._judge is not None and profile is not None:
            found = self._judge.violation(_facts(task, amount), profile, own, fabric)
            if found is not None:
                detail = f"rule {found.rule} of {named(found.policy_hash)}: {found.detail}"
                raise ClaimRefused(swarm_id, task.task_id, Refusal.POLICY, detail, found)
        limit, spent = task.budget_limit_micros, task.spent_micros
        accounts = [BudgetFacts(f"task/{task.task_id}", limit, spent, 0), own]
        if reserved is None:
            accounts.append(fabric)
        lacking = short(accounts, amount)
        if lacking is not None:
            raise self._lacking(task, swarm_id, lacking, amount)

    def lacking(self, task: Task, swarm_id: str, amount: int) -> ClaimRefused:
        """Return the refusal of a claim for which the fabric's account has not enough."""
        return self._lacking(task, swarm_id, self._accounts.facts(FABRIC), amount)

    def _lacking(
        self, task: Task, swarm_id: str, account: BudgetFacts, amount: int
    ) -> ClaimRefused:
        self._shortages.note(swarm_id, account, amount)
        detail = explain(account, amount)
        return ClaimRefused(swarm_id, task.task_id, Refusal.BUDGET, detail, lacking=account)

    def compares(self, swarm_ids: Iterable[str]) -> list[Compare]:
        """Return what refuses a claim by these swarms if what `check` saw of them has changed.

        The fabric's limit is not among it: see `same_limit`.
        """
        compares: dict[str, Compare] = {}
        for swarm_id in swarm_ids:
            # The hold is the same for all.
            for each in self._gate.compares(swarm_id):
                compares[each.key] = each
            own = self._same_budget(swarm_account(swarm_id))
            compares[own.key] = own
        return list(compares.values())

    def same_limit(self) -> Compare:
        """Return what refuses a claim if the fabric's limit is another than now.

        To be asked for when the fabric's money is held: what is decided of a claim later, with
        `reserved`, does not look at it again.
        """
        return self._same_budget(FABRIC)

    def limited(self, swarm_id: str) -> bool:
        """Tell whether a swarm's own account has a limit."""
        budget = self._ledger.budget(swarm_account(swarm_id))
        return budget is not None and budget.limit_micros is not None

    def _same_budget(self, account: str) -> Compare:
        entry = self._ledger.budgets.entry(account)
        key = self._ledger.budgets.key(account)
        return unchanged(key, 0 if entry is None else entry.mod_revision)


def reservation(claim: TaskClaim | None) -> Reservation | None:
    """Return what a claim has reserved and may still spend, None without one."""
    return None if claim is None else Reservation(claim.swarm_id, claim.payer, claim.left_micros)


def counter(accounts: Accounts) -> Callable[[Task | None, Task | None], None]:
    """Return what tells the accounts of each change in the view of tasks."""

    def count(old: Task | None, new: Task | None) -> None:
        task = new or old
        if task is not None:
            accounts.count(
                task.task_id,
                reservation(old.claim if old else None),
                reservation(new.claim if new else None),
            )

    return count


def _accounts(swarm_id: str) -> tuple[str, str]:
    return swarm_account(swarm_id), FABRIC


def _facts(task: Task, amount: int) -> TaskFacts:
    spec = task.spec
    return TaskFacts(
        task_id=spec.task_id,
        title=spec.title,
        required_capabilities=spec.required_capabilities,
        priority=spec.priority,
        filler=spec.filler,
        preferred_model=spec.preferred_model,
        estimated_duration=spec.estimated_duration,
        max_cost_micros=spec.max_cost_micros,
        amount_micros=amount,
        spent_micros=task.spent_micros,
        attempt=task.attempt if task.claim is not None else task.attempt + 1,
        failures=task.failures,
    )
