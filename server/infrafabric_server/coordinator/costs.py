"""Costs that swarms report while they work, and what a task may cost."""

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.help.money import HelpMoney
from infrafabric_server.coordinator.models import RequestRecord, Task, TaskClaim
from infrafabric_server.coordinator.records import MAX_TRIES, Decision, Fact, Records
from infrafabric_server.coordinator.settlement import Settlement
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.breaker.counting import Counting
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.budget.ports import Spent, TaskAccount
from infrafabric_server.optimise.models import swarm_account
from infrafabric_server.store.mirror import Write
from infrafabric_server.store.protocol import Compare, present


class _LostRace(Exception):
    """Something that a charge compared has changed."""


class Costs:
    """Use cases about money; each takes effect in one transaction with its witness entry."""

    def __init__(
        self,
        records: Records,
        claims: Claims,
        settlement: Settlement,
        counting: Counting,
        accounts: Accounts,
        help_money: HelpMoney,
    ) -> None:
        self._records = records
        self._help_money = help_money
        self._accounts = accounts
        self._claims = claims
        self._counting = counting
        self._settlement = settlement

    async def track(self, spent: Spent, request_id: str = "", epoch: int | None = None) -> int:
        """Charge a cost to its swarm, and with a task to the reservation of its claim.

        A helper's is charged to whoever asked for help: see `HelpMoney`. What is beyond the
        reservation is charged too. A repeat of `request_id` charges nothing,
        even when the claim is over since.

        Args:
            spent: the cost, 1 to 10^12 micro-US-dollars.
            request_id: id of the call, kept for 24 hours; "" for none.
            epoch: the session that it came through, None outside a session.

        Returns:
            What the attempt, or all helpers of it, may still spend of the reservation; 0 without
            a task or a request for help.

        Raises:
            FabricError: SWARM_NOT_FOUND, or with a task as `rules.holder_claim`, or with a
                request for help as `HelpMoney.charge`; REQUEST_ID_REUSED, SESSION_FENCED,
                SESSION_EXPIRED, CONTENTION.
        """
        # Each compares what is left of the budget: those of one moment would refuse each other.
        async with self._help_money.turn(spent.help_id) if spent.help_id else nullcontext():
            return await self._track(spent, request_id, epoch)

    async def _track(self, spent: Spent, request_id: str, epoch: int | None) -> int:
        for _ in range(MAX_TRIES):
            refusal: FabricError | None = None
            try:
                return await self._write(spent, request_id, epoch)
            except _LostRace:
                pass
            except FabricError as error:
                refusal = error
            # Only now is it worth a look whether the call is a repeat.
            if await self._records.requests.answered(request_id, _digest(spent)) is not None:
                await self._records.mirror.catch_up()
                return self._left(spent)
            if refusal is not None:
                raise refusal
        raise FabricError(
            Reason.CONTENTION,
            f"the claims of {spent.swarm_id} change too fast; try again",
            retry_after=0.1,
        )

    async def limit_task(self, task_id: str, limit_micros: int | None) -> TaskAccount:
        """Set what all attempts of a task may spend together; None is no limit of its own.

        A repeat changes nothing. Raises TASK_NOT_FOUND, TASK_ENDED.
        """

        def rule(task: Task) -> Decision | None:
            if task.state.ended:
                raise FabricError(
                    Reason.TASK_ENDED, f"task {task_id} is {task.state}, which cannot change"
                )
            if task.budget_limit_micros == limit_micros:
                return None
            limited = task.model_copy(update={"budget_limit_micros": limit_micros})
            details = {"limit_micros": limit_micros}
            return Decision(limited, [Fact("budget_set", task_id=task_id, details=details)])

        return _account(await self._records.change(task_id, rule))

    def available(self, swarm_id: str) -> int | None:
        """Return what a swarm's account has left, None without a limit."""
        return self._accounts.facts(swarm_account(swarm_id)).available_micros

    async def account(self, task_id: str) -> TaskAccount:
        """Return the account of a live or an archived task. Raises TASK_NOT_FOUND."""
        task = await self._records.find(task_id)
        if task is None:
            raise FabricError(Reason.TASK_NOT_FOUND, f"no task has the id {task_id}")
        return _account(task)

    async def _write(self, spent: Spent, request_id: str, epoch: int | None) -> int:
        compares: list[Compare] = self._claims.same_session(spent.swarm_id, epoch)
        writes: list[Write] = []
        if request_id:
            record = RequestRecord(digest=_digest(spent), time=self._records.clock.now())
            absent, put = self._records.requests.remember(request_id, record)
            compares.append(absent)
            writes.append(put)
        if spent.help_id:
            charge = self._help_money.charge(spent)
            compares, writes = [*compares, *charge.compares], [*writes, *charge.writes]
            await self._charge(spent, epoch, compares, writes, charge.facts)
            return charge.left_micros
        if not spent.task_id:
            entry = self._settlement.charge(spent.swarm_id, spent.operation, spent.micros)
            await self._charge(spent, epoch, compares, [*writes, entry], [_fact(spent, None)])
            return 0
        tried = False

        def rule(task: Task) -> Decision | None:
            nonlocal tried
            if tried:
                raise _LostRace
            held = rules.holder_claim(task, spent.swarm_id, spent.attempt)
            drawn = rules.draw(task, spent.operation, spent.micros)
            tried = True
            entry = self._settlement.charge(
                spent.swarm_id, spent.operation, spent.micros, spent.task_id, held
            )
            breaker = self._counting.drawn(
                spent.swarm_id,
                cost_micros=held.drawn_micros + spent.micros,
                bound_micros=self._settlement.bound(task, held),
            )
            return Decision(
                drawn,
                [_fact(spent, drawn.claim)],
                [*compares, *breaker.compares],
                [*writes, entry, *breaker.writes],
            )

        drawn = await self._claims.change(spent.task_id, rule, spent.swarm_id, epoch)
        return 0 if drawn.claim is None else drawn.claim.left_micros

    async def _charge(
        self,
        spent: Spent,
        epoch: int | None,
        compares: list[Compare],
        writes: list[Write],
        facts: Sequence[Fact],
    ) -> None:
        self._claims.check_epoch(spent.swarm_id, epoch)
        swarms = self._records.fleet.swarms
        if spent.swarm_id not in swarms:
            raise FabricError(Reason.SWARM_NOT_FOUND, f"no swarm has the id {spent.swarm_id}")
        known = present(swarms.key(spent.swarm_id))
        result = await self._records.commit([known, *compares], writes, facts)
        if not result.succeeded:
            raise _LostRace

    def _left(self, spent: Spent) -> int:
        if spent.help_id:
            return self._help_money.left(spent.help_id)
        task = self._records.tasks.get(spent.task_id) if spent.task_id else None
        if task is None or not rules.holds(task, spent.swarm_id, spent.attempt):
            return 0
        return 0 if task.claim is None else task.claim.left_micros


def _fact(spent: Spent, drawn: TaskClaim | None) -> Fact:
    """Return the witness entry of a cost; `drawn` is the claim that it was for, afterwards."""
    details: dict[str, object] = {"operation": spent.operation, "cost_micros": spent.micros}
    if drawn is not None:
        details["drawn_micros"] = drawn.drawn_micros
        details["reserved_micros"] = drawn.reserved_micros
    return Fact("cost_tracked", spent.swarm_id, spent.task_id, spent.attempt, details)


def _account(task: Task) -> TaskAccount:
    reserved = 0 if task.claim is None else task.claim.left_micros
    return TaskAccount(task.task_id, task.budget_limit_micros, task.spent_micros, reserved)


def _digest(spent: Spent) -> str:
    """Return a hash by which a repeat is known."""
    said = [spent.swarm_id, spent.operation, spent.micros, spent.task_id, spent.attempt]
    if spent.help_id:
        said.append(spent.help_id)
    return hashlib.sha256("\n".join(["cost", *map(str, said)]).encode()).hexdigest()
