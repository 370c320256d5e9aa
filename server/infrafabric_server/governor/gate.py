"""What stands between a swarm and a claim, besides money: breakers, holds, pauses and rules."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.budget.rules import BudgetFacts
from infrafabric_server.governor.models import Violation
from infrafabric_server.store.protocol import Compare

__all__ = ["Barrier", "BudgetFacts", "Closed", "Gate", "Gates", "Judge", "TaskFacts", "Violation"]


class Barrier(StrEnum):
    """What keeps all work from a swarm."""

    HOLD = "hold"
    BREAKER_OPEN = "breaker_open"


@dataclass(frozen=True, slots=True)
class Closed:
    """Why a swarm is given no work now; `detail` is for people and has the numbers."""

    barrier: Barrier
    detail: str


class Gate(Protocol):
    """Tells whether a swarm may be given work at all; asked for each claim and each choice."""

    def closed(self, swarm_id: str) -> Closed | None:
        """Return why the swarm is given no work now, None when it may be. Cheap, without effects.

        A hold of the fabric or a paused pool comes before an open breaker.
        """
        ...

    def compares(self, swarm_id: str) -> Sequence[Compare]:
        """Return what a claim compares, so that it fails if what `closed` saw has changed."""
        ...


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What rules may know of a task; `amount_micros` is what its claim would reserve."""

    task_id: str
    title: str
    required_capabilities: frozenset[str]
    priority: int
    filler: bool
    preferred_model: str
    estimated_duration: timedelta | None
    max_cost_micros: int | None
    amount_micros: int
    spent_micros: int
    attempt: int
    failures: int


class Judge(Protocol):
    """Tells whether the policy's rules allow a claim."""

    def violation(
        self, task: TaskFacts, swarm: SwarmProfile, budget: BudgetFacts, fabric: BudgetFacts
    ) -> Violation | None:
        """Return the first rule that forbids the claim, None when all allow it.

        `budget` is the swarm's account. Without effects; it must not wait and not raise.
        """
        ...


class Gates:
    """Several gates in one: the first that is closed counts, a hold before an open breaker."""

    def __init__(self, gates: Iterable[Gate] = ()) -> None:
        self._gates = tuple(gates)

    def closed(self, swarm_id: str) -> Closed | None:
        """See Gate."""
        found = [each for gate in self._gates if (each := gate.closed(swarm_id)) is not None]
        holds = (each for each in found if each.barrier is Barrier.HOLD)
        return next(holds, found[0] if found else None)

    def compares(self, swarm_id: str) -> list[Compare]:
        """See Gate."""
        return [compare for gate in self._gates for compare in gate.compares(swarm_id)]
