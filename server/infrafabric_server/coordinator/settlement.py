"""What the end of a claim does to the accounts and to its swarm's record.

Money is charged, or was spent in vain. What its holder completed, failed or lost is noted; what was
given back, taken away or nobody could do is not: see `docs/reputation.md`.
"""

from datetime import datetime
from typing import Protocol

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.models import EndKind, LossKind, Task, TaskClaim
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.roster import Roster
from infrafabric_server.optimise.cheapest import cheapest
from infrafabric_server.optimise.models import FABRIC, Cost, Waste, swarm_account
from infrafabric_server.store.mirror import Write

COMPLETION = "task"
"""The operation under which a completion is charged what its holder had not reported before."""

# What the swarm itself gave back; all else was taken from it.
_GIVEN_BACK = (LossKind.DECLINED, LossKind.SESSION_CLOSED)

# What a swarm is to blame for: it went away or stood still with the task in its hands.
_LET_DOWN = (LossKind.SESSION_LOST, LossKind.EXPIRED, LossKind.NO_PROGRESS)


class Ledger(Protocol):
    """Where costs are written down."""

    def entry(self, cost: Cost) -> Write:
        """Return the write that enters a cost, for the transaction of what it paid for."""
        ...


class Outcomes(Protocol):
    """Where it is noted how attempts ended; one that is noted twice counts once."""

    def completed(self, swarm_id: str, source: str, begun: datetime) -> Write:
        """Return the write that notes an attempt that was completed, for its transaction."""
        ...

    def failed(self, swarm_id: str, source: str, begun: datetime) -> Write:
        """Return the write that notes an attempt that its swarm failed or lost."""
        ...


class Settlement:
    """Makes the entries about claims that end, for the transactions that end them."""

    def __init__(
        self,
        ledger: Ledger,
        accounts: Accounts,
        fleet: Fleet,
        roster: Roster,
        policies: PolicyBook,
        clock: Clock,
        outcomes: Outcomes,
    ) -> None:
        self._outcomes = outcomes
        self._ledger = ledger
        self._accounts = accounts
        self._fleet = fleet
        self._roster = roster
        self._policies = policies
        self._clock = clock

    def charge(
        self,
        swarm_id: str,
        operation: str,
        micros: int,
        task_id: str = "",
        held: TaskClaim | None = None,
    ) -> Write:
        """Return the entry of new money that was spent; `held` is the claim that it is out of."""
        return self._ledger.entry(self._cost(swarm_id, operation, micros, task_id, held))

    def bound(self, task: Task, held: TaskClaim) -> int | None:
        """Return what an attempt may spend altogether; None where nobody has set any limit.

        Where the task has a limit, that is what it reserved. Else the reservation is the policy's
        guess, and it may spend beyond it what its swarm's and the fabric's accounts have available.
        """
        if task.spec.max_cost_micros is not None or task.budget_limit_micros is not None:
            return held.reserved_micros
        accounts = map(self._accounts.facts, (swarm_account(held.swarm_id), FABRIC))
        left = [facts.available_micros for facts in accounts if facts.available_micros is not None]
        if not left:
            return None
        # What it has spent beyond its reservation is missing from what is available already.
        return max(held.reserved_micros, held.drawn_micros) + max(0, min(left))

    def ended(self, held: TaskClaim, after: Task, kind: EndKind) -> list[Write]:
        """Return the entries of a claim that its holder ended; `after` is the task then."""
        match kind:
            case EndKind.COMPLETED:
                source = _source(held, after.task_id)
                done = self._outcomes.completed(held.swarm_id, source, held.claim_time)
                return [done, *self._completed(held, after)] if after.cost_micros else [done]
            case EndKind.FAILED:
                return self._wasted(held, after.task_id, Waste.FAILED)
            case EndKind.RELEASED:
                return self._wasted(held, after.task_id, Waste.REPEATED)

    def _completed(self, held: TaskClaim, done: Task) -> list[Write]:
        """Charge what was not reported before; compare all of it with the cheapest swarm."""
        rest = done.cost_micros - held.drawn_micros
        cost = self._cost(held.swarm_id, COMPLETION, rest, done.task_id, held)
        profile = self._fleet.swarms.get(held.swarm_id)
        required = done.spec.required_capabilities
        matching = self._policies.current.policy.matching_for(done.task_id, required)
        found = cheapest(
            done.cost_micros,
            0 if profile is None else profile.cost_per_hour_micros,
            self._roster.cheapest(required, comparison=matching.comparison),
        )
        said = {"cheapest_micros": found, "charge": rest > 0}
        return [self._ledger.entry(cost.model_copy(update=said))]

    def lost(self, held: TaskClaim, task_id: str, kind: LossKind) -> list[Write]:
        """Return the entries of a claim that went back without its holder's having ended it."""
        given_back = kind in _GIVEN_BACK
        wasted = self._wasted(held, task_id, Waste.REPEATED if given_back else Waste.FENCED)
        return [*wasted, *self.let_down(held, task_id)] if kind in _LET_DOWN else wasted

    def let_down(self, held: TaskClaim, task_id: str) -> list[Write]:
        """Return the entry of an attempt that its swarm is to blame for."""
        source = _source(held, task_id)
        return [self._outcomes.failed(held.swarm_id, source, held.claim_time)]

    def fenced(self, held: TaskClaim, task_id: str) -> list[Write]:
        """Return the entries of a claim that ends with its task, or with its process."""
        return self._wasted(held, task_id, Waste.FENCED)

    def _wasted(self, held: TaskClaim, task_id: str, waste: Waste) -> list[Write]:
        said = {"charge": False, "waste": waste}
        costs = (
            self._cost(held.swarm_id, operation, micros, task_id, held)
            for operation, micros in held.drawn_on.items()
        )
        return [self._ledger.entry(cost.model_copy(update=said)) for cost in costs]

    def _cost(
        self, swarm_id: str, operation: str, micros: int, task_id: str, held: TaskClaim | None
    ) -> Cost:
        profile = self._fleet.swarms.get(swarm_id)
        return Cost(
            swarm_id=swarm_id,
            operation=operation,
            micros=micros,
            time=self._clock.now(),
            task_id=task_id,
            attempt=0 if held is None else held.attempt,
            model="" if profile is None else profile.model,
            payer="" if held is None else held.payer,
        )


def _source(held: TaskClaim, task_id: str) -> str:
    return f"{task_id}/{held.attempt}"
