"""G3, G4: any history of claims and costs against a model that adds up what was reported."""

from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from infrafabric_server.coordinator.models import FailureKind, LossKind, Task
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.breaker.models import BreakerState
from infrafabric_server.governor.budget.ports import Spent
from infrafabric_server.optimise.models import FABRIC, Waste, swarm_account
from tests.unit.coordinator.machines import FabricMachine
from tests.unit.coordinator.money import DOLLAR, board, reserved

T = TypeVar("T")

SWARMS = ("anna", "bert")
TASKS = tuple(f"t{n}" for n in range(10))
HELD = (Reason.STALE_ATTEMPT, Reason.NOT_OWNER, Reason.TASK_NOT_CLAIMED, Reason.TASK_ENDED)
WASTE = {LossKind.DECLINED: Waste.REPEATED, LossKind.SESSION_CLOSED: Waste.REPEATED}

swarms = st.sampled_from(SWARMS)
tasks = st.sampled_from(TASKS)
picks = st.integers(0, 1000)
amounts = st.integers(1, 3 * DOLLAR)


class Purse(FabricMachine):
    """Swarms claim, spend, finish, fail, lose and lie; every micro-dollar must be found again."""

    def __init__(self) -> None:
        super().__init__()
        self.charged: Counter[str] = Counter()
        self.wasted: Counter[Waste] = Counter()
        self.by_task: Counter[str] = Counter()
        self.drawn: Counter[str] = Counter()
        self.answered: dict[str, Spent] = {}
        self.serve()
        for swarm_id in SWARMS:
            self.run(self.fabric.join(swarm_id, slots=5))
        self.run(board(self.fabric, *[DOLLAR] * 6, *[2 * DOLLAR] * 3, None))

    def call(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what a call answers; None if it is refused for want of the claim."""
        try:
            return self.run(work)
        except FabricError as error:
            if error.reason not in HELD:
                raise
            return None

    def a_task(self, pick: int) -> Task:
        """Return one of the tasks, mostly one that is held."""
        every = [self.fabric.task(task_id) for task_id in TASKS]
        held = [task for task in every if task.claim is not None]
        return held[pick % len(held)] if held and pick % 8 else every[pick % len(every)]

    def holder(self, task: Task) -> tuple[str, str, int]:
        """Return who could speak of a task, rightly or not."""
        return task.last_owner or "anna", task.task_id, task.attempt

    def over(self, task_id: str, waste: Waste) -> None:
        """Note that a claim ended, and all that it drew was in vain."""
        self.wasted[waste] += self.drawn.pop(task_id, 0)

    @rule(swarm_id=swarms, task_id=tasks, session=st.booleans())
    def claim(self, swarm_id: str, task_id: str, *, session: bool) -> None:
        entry = self.fabric.fleet.sessions.entry(swarm_id)
        epoch = entry.mod_revision if session and entry is not None else None
        self.run(self.fabric.coordinator.claims.claim(swarm_id, task_id, epoch))

    @rule(pick=picks, operation=st.sampled_from(["llm", "ocr"]), micros=amounts)
    def spend(self, pick: int, operation: str, micros: int) -> None:
        swarm_id, task_id, attempt = self.holder(self.a_task(pick))
        spent = Spent(swarm_id, operation, micros, task_id, max(1, attempt))
        request_id = f"r{len(self.answered)}"
        if self.call(self.fabric.coordinator.costs.track(spent, request_id)) is not None:
            self.answered[request_id] = spent
            self.charged[swarm_id] += micros
            self.by_task[task_id] += micros
            self.drawn[task_id] += micros

    @rule(swarm_id=swarms, micros=amounts)
    def spend_of_its_own(self, swarm_id: str, micros: int) -> None:
        self.run(self.fabric.coordinator.costs.track(Spent(swarm_id, "rent", micros)))
        self.charged[swarm_id] += micros

    @precondition(lambda self: self.answered)
    @rule(pick=st.integers(0, 100))
    def say_it_again(self, pick: int) -> None:
        request_id = f"r{pick % len(self.answered)}"
        again = self.fabric.coordinator.costs.track(self.answered[request_id], request_id)
        assert self.call(again) is not None

    @rule(pick=picks, cost=st.integers(0, 3 * DOLLAR), times=st.integers(1, 2))
    def complete(self, pick: int, cost: int, times: int) -> None:
        before = self.a_task(pick)
        swarm_id, task_id, attempt = self.holder(before)
        held = before.claim is not None
        claims = self.fabric.coordinator.claims
        for _ in range(times):
            self.call(claims.complete(swarm_id, task_id, attempt, result_json="", cost_micros=cost))
        if held:
            rest = max(0, cost - self.drawn.pop(task_id, 0))
            self.charged[swarm_id] += rest
            self.by_task[task_id] += rest

    @rule(pick=picks, kind=st.sampled_from(FailureKind))
    def fail(self, pick: int, kind: FailureKind) -> None:
        before = self.a_task(pick)
        self.call(
            self.fabric.coordinator.claims.fail(
                *self.holder(before), reason="no", kind=kind, retry_time=None
            )
        )
        if before.claim is not None:
            self.over(before.task_id, Waste.FAILED)

    @rule(pick=picks)
    def release(self, pick: int) -> None:
        before = self.a_task(pick)
        self.call(self.fabric.coordinator.claims.release(*self.holder(before), "no"))
        if before.claim is not None:
            self.over(before.task_id, Waste.REPEATED)

    @rule(task_id=tasks, kind=st.sampled_from(LossKind))
    def lose(self, task_id: str, kind: LossKind) -> None:
        holder = self.holder(self.fabric.task(task_id))
        if self.run(self.fabric.coordinator.claims.lose(*holder, kind)) is not None:
            self.over(task_id, WASTE.get(kind, Waste.FENCED))

    @rule(task_id=tasks)
    def cancel(self, task_id: str) -> None:
        if self.call(self.fabric.coordinator.endings.cancel(task_id, "no")) is not None:
            self.over(task_id, Waste.FENCED)

    @rule(swarm_id=swarms)
    def begin_again(self, swarm_id: str) -> None:
        held = [
            task_id
            for task_id in TASKS
            if (claim := self.fabric.task(task_id).claim) is not None
            and claim.swarm_id == swarm_id
            and claim.expire_time is None
        ]
        self.run(self.fabric.join(swarm_id, slots=5))
        for task_id in held:
            self.over(task_id, Waste.FENCED)

    @rule(swarm_id=swarms)
    def close_the_breaker(self, swarm_id: str) -> None:
        if self.fabric.breakers.records.of(swarm_id).state is BreakerState.OPEN:
            self.run(self.fabric.breakers.reset(swarm_id, "a person", "it is fine"))

    @invariant()
    def accounts_are_what_was_reported(self) -> None:
        ledger = self.fabric.ledger
        for swarm_id in SWARMS:
            assert ledger.total(swarm_account(swarm_id)) == self.charged[swarm_id]
        assert ledger.total(FABRIC) == sum(self.charged.values())
        for task_id in TASKS:
            assert self.fabric.task(task_id).spent_micros == self.by_task[task_id]

    @invariant()
    def waste_is_what_was_drawn_in_vain(self) -> None:
        found: Counter[Waste] = Counter()
        for entry in self.fabric.ledger.costs.entries():
            cost = entry.value
            if cost.waste is not None:
                assert not cost.charge
                found[cost.waste] += cost.micros
        assert +found == +self.wasted

    @invariant()
    def only_live_claims_reserve(self) -> None:
        stored = self.loop.run_until_complete(reserved(self.fabric.store))
        assert self.fabric.parts.accounts.reserved(FABRIC) == stored
        for task_id in TASKS:
            claim = self.fabric.task(task_id).claim
            assert self.drawn[task_id] == (0 if claim is None else claim.drawn_micros)


TestPurse = Purse.TestCase
TestPurse.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
