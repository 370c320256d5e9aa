"""Who pays for help: whoever asked, as far as the request's budget goes; then the helper."""

import asyncio
from dataclasses import dataclass, field

from infrafabric_server.coordinator import rules as tasks
from infrafabric_server.coordinator.help.liveness import Liveness
from infrafabric_server.coordinator.help.requests import not_found
from infrafabric_server.coordinator.models import Task, TaskClaim
from infrafabric_server.coordinator.records import Fact, Records
from infrafabric_server.coordinator.settlement import Settlement
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.breaker.counting import Counting
from infrafabric_server.governor.breaker.records import Effect
from infrafabric_server.governor.budget.ports import Spent
from infrafabric_server.governor.help import rules
from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.governor.turns import Turns
from infrafabric_server.store.mirror import Write
from infrafabric_server.store.protocol import Compare, unchanged


@dataclass(slots=True)
class Charge:
    """What a helper's cost changes, and what all helpers may still spend then."""

    compares: list[Compare] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    left_micros: int = 0

    def add(self, effect: Effect, *writes: Write) -> None:
        """Add what a cost does to a breaker, and other writes."""
        self.compares += effect.compares
        self.writes += (*writes, *effect.writes)


class HelpMoney:
    """Makes the transactions of what helpers spend; `Costs` writes them."""

    def __init__(
        self, records: Records, settlement: Settlement, counting: Counting, liveness: Liveness
    ) -> None:
        self._records = records
        self._settlement = settlement
        self._counting = counting
        self._liveness = liveness
        self._turns = Turns()

    def turn(self, help_id: str) -> asyncio.Lock:
        """Return what has the costs of a request charged one after the other."""
        return self._turns.of(help_id)

    def charge(self, spent: Spent) -> Charge:
        """Return what a helper's cost changes.

        What the budget covers is charged to the swarm that asked and drawn on its claim. The rest
        is charged to the helper and opens its breaker.

        Raises:
            FabricError: HELP_NOT_FOUND, NOT_A_HELPER, HELP_ENDED; INVALID_FIELD when the attempt
                would cost more than an amount may be.
        """
        entry = self._records.help.entry(spent.help_id)
        if entry is None:
            raise not_found(spent.help_id)
        request = entry.value
        task, held = self._claim_of(request, spent.swarm_id)
        after = rules.spent(request, spent.micros)
        covered = rules.covered(request, spent.micros)
        charge = Charge(
            [unchanged(entry.key, entry.mod_revision), *self._liveness.same(request)],
            [self._records.help.put(entry.id, after)],
        )
        if covered:
            held = self._draw(charge, after, spent, task, held, covered)
        if covered < spent.micros:
            self._go_beyond(charge, after, spent, spent.micros - covered)
        charge.left_micros = _left(after, held)
        return charge

    def _claim_of(self, request: HelpRequest, helper: str) -> tuple[Task, TaskClaim]:
        """Return what a request is about, if it is live and `helper` is one of its helpers."""
        if helper not in request.helper_ids:
            raise FabricError(
                Reason.NOT_A_HELPER,
                f"{helper} does not help with {request.help_id}; accept it first",
            )
        cause = self._liveness.over(request)
        task = self._records.tasks.get(request.task_id)
        if cause or task is None or task.claim is None:
            raise FabricError(
                Reason.HELP_ENDED,
                f"the request {request.help_id} is over: {cause}; report the cost without it",
            )
        return task, task.claim

    def _draw(
        self,
        charge: Charge,
        after: HelpRequest,
        spent: Spent,
        task: Task,
        held: TaskClaim,
        micros: int,
    ) -> TaskClaim:
        """Charge what the budget covers to the claim; return that as it is then."""
        drawn = tasks.draw(task, spent.operation, micros)
        assert drawn.claim is not None
        entry = self._settlement.charge(held.swarm_id, spent.operation, micros, task.task_id, held)
        breaker = self._counting.drawn(
            held.swarm_id,
            cost_micros=drawn.claim.drawn_micros,
            bound_micros=self._settlement.bound(task, held),
        )
        charge.add(breaker, self._records.tasks.put(task.task_id, drawn), entry)
        details = _details(after, spent, micros) | {
            "drawn_micros": drawn.claim.drawn_micros,
            "reserved_micros": held.reserved_micros,
        }
        charge.facts.append(
            Fact("cost_tracked", held.swarm_id, task.task_id, held.attempt, details)
        )
        return drawn.claim

    def _go_beyond(self, charge: Charge, after: HelpRequest, spent: Spent, micros: int) -> None:
        """Charge what the budget does not cover to the helper, whose breaker opens."""
        helper = spent.swarm_id
        detail = rules.beyond(after)
        entry = self._settlement.charge(helper, spent.operation, micros)
        charge.add(self._counting.overran(helper, detail), entry)
        charge.facts.append(Fact("cost_tracked", helper, details=_details(after, spent, micros)))

    def left(self, help_id: str) -> int:
        """Return what all helpers of a request may still spend; 0 when it is over."""
        request = self._records.help.get(help_id)
        if request is None or self._liveness.over(request):
            return 0
        task = self._records.tasks.get(request.task_id)
        return 0 if task is None or task.claim is None else _left(request, task.claim)


def _left(request: HelpRequest, held: TaskClaim) -> int:
    return min(request.left_micros, held.left_micros)


def _details(after: HelpRequest, spent: Spent, micros: int) -> dict[str, object]:
    return {
        "operation": spent.operation,
        "cost_micros": micros,
        "help_id": after.help_id,
        "helper_swarm_id": spent.swarm_id,
        "help_spent_micros": after.spent_micros,
    }
