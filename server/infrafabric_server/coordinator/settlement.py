"""What the end of a claim does to the accounts: money is charged, or was spent in vain."""

from typing import Protocol

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.models import EndKind, LossKind, Task, TaskClaim
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.optimise.models import Cost, Waste
from infrafabric_server.store.mirror import Write

COMPLETION = "task"
"""The operation under which a completion is charged what its holder had not reported before."""

# What the swarm itself gave back; all else was taken from it.
_GIVEN_BACK = (LossKind.DECLINED, LossKind.SESSION_CLOSED)


class Ledger(Protocol):
    """Where costs are written down."""

    def entry(self, cost: Cost) -> Write:
        """Return the write that enters a cost, for the transaction of what it paid for."""
        ...


class Settlement:
    """Makes the ledger's entries about claims, for the transactions that change them."""

    def __init__(self, ledger: Ledger, fleet: Fleet, clock: Clock) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._clock = clock

    def charge(
        self, swarm_id: str, operation: str, micros: int, task_id: str = "", attempt: int = 0
    ) -> Write:
        """Return the entry of new money that was spent."""
        return self._ledger.entry(self._cost(swarm_id, operation, micros, task_id, attempt))

    def ended(self, held: TaskClaim, after: Task, kind: EndKind) -> list[Write]:
        """Return the entries of a claim that its holder ended; `after` is the task then."""
        match kind:
            case EndKind.COMPLETED:
                rest = after.cost_micros - held.drawn_micros
                if not rest:
                    return []
                return [self.charge(held.swarm_id, COMPLETION, rest, after.task_id, held.attempt)]
            case EndKind.FAILED:
                return self._wasted(held, after.task_id, Waste.FAILED)
            case EndKind.RELEASED:
                return self._wasted(held, after.task_id, Waste.REPEATED)

    def lost(self, held: TaskClaim, task_id: str, kind: LossKind) -> list[Write]:
        """Return the entries of a claim that went back without its holder's having ended it."""
        given_back = kind in _GIVEN_BACK
        return self._wasted(held, task_id, Waste.REPEATED if given_back else Waste.FENCED)

    def fenced(self, held: TaskClaim | None, task_id: str) -> list[Write]:
        """Return the entries of a claim that ends with its task, or with its process."""
        return [] if held is None else self._wasted(held, task_id, Waste.FENCED)

    def _wasted(self, held: TaskClaim, task_id: str, waste: Waste) -> list[Write]:
        return [
            self._ledger.entry(
                self._cost(held.swarm_id, operation, micros, task_id, held.attempt).model_copy(
                    update={"charge": False, "waste": waste}
                )
            )
            for operation, micros in held.drawn_on.items()
        ]

    def _cost(self, swarm_id: str, operation: str, micros: int, task_id: str, attempt: int) -> Cost:
        profile = self._fleet.swarms.get(swarm_id)
        return Cost(
            swarm_id=swarm_id,
            operation=operation,
            micros=micros,
            time=self._clock.now(),
            task_id=task_id,
            attempt=attempt,
            model="" if profile is None else profile.model,
        )
