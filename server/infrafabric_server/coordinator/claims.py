"""Claims: won by one, kept by leases, ended by their holder."""

from collections.abc import Callable
from datetime import datetime, timedelta

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.models import (
    ClaimOutcome,
    EndKind,
    FailureKind,
    LossKind,
    Milestone,
    Task,
    TaskClaim,
)
from infrafabric_server.coordinator.records import Decision, Fact, Records
from infrafabric_server.coordinator.settlement import Settlement
from infrafabric_server.coordinator.slots import Slots
from infrafabric_server.coordinator.winning import Bid, Winning
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.breaker.counting import Counting
from infrafabric_server.governor.breaker.records import Effect
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.mirror import Write
from infrafabric_server.store.protocol import Compare, unchanged
from infrafabric_server.store.second_look import second_look
from infrafabric_server.witness.flood import Flood

# What `rules.holder_claim` refuses.
_FENCED = (Reason.STALE_ATTEMPT, Reason.TASK_ENDED, Reason.TASK_NOT_CLAIMED, Reason.NOT_OWNER)


class Claims:
    """Use cases about one claim; each takes effect in one transaction with its witness entry.

    `epoch` is the session that a call came through, None for a call outside a session. A
    claim made in a session lives with it, another one for `ttl`. Claims that are refused
    and messages that are fenced as stale are counted for the witness log.
    """

    def __init__(
        self,
        records: Records,
        capacity: Capacity,
        slots: Slots,
        settlement: Settlement,
        counting: Counting,
        policies: PolicyBook,
        flood: Flood,
        ttl: timedelta,
    ) -> None:
        self._records = records
        self._settlement = settlement
        self._counting = counting
        self._winning = Winning(records, capacity, slots)
        self._policies = policies
        self._flood = flood
        self._ttl = ttl

    async def claim(self, swarm_id: str, task_id: str, epoch: int | None = None) -> ClaimOutcome:
        """Claim a task: won by exactly one, lost with the reason and the owner.

        A repeat by the owner is won again under the same attempt.
        Raises SESSION_FENCED when the session was taken over, CONTENTION.
        """
        known = self._records.tasks.get(task_id)
        if known is not None and known.claim is not None and known.claim.swarm_id == swarm_id:
            # A repeat, unless the claim is over and the view is behind.
            await self._records.mirror.catch_up()
        bid = Bid(swarm_id, task_id, epoch, self._ttl)
        outcome = await self._winning.win(bid)
        # What was won was compared with the store: a view that is behind only refuses wrongly.
        if outcome.refusal is not None and await self._records.mirror.catch_up():
            outcome = await self._winning.win(bid)
        if outcome.refusal is not None:
            self._flood.count("claim_refused", swarm_id, task_id, outcome.refusal.value)
        if outcome.violation is not None:
            self._policies.violated(swarm_id, task_id, outcome.violation)
        return outcome

    async def claim_anew(self, swarm_id: str, task_id: str, ttl: timedelta) -> ClaimOutcome:
        """Claim a task outside a session for a time to live of its own.

        Lost when the swarm holds the task already, so that of several that speak for one swarm
        only one wins. Its refusals are not counted: the fabric itself asks. Raises CONTENTION.
        """
        return await self._winning.win(Bid(swarm_id, task_id, None, ttl, anew=True))

    async def release(
        self, swarm_id: str, task_id: str, attempt: int, reason: str, epoch: int | None = None
    ) -> Task:
        """Give a task back; the swarm is not given it again until it has completed another.

        A repeat is accepted. Raises as `rules.holder_claim`.
        """

        def rule(task: Task, _now: datetime) -> tuple[Task, dict[str, object]]:
            return rules.release(task), {"reason": reason}

        return await self._end(swarm_id, task_id, attempt, epoch, EndKind.RELEASED, rule)

    async def complete(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        *,
        result_json: str,
        cost_micros: int,
        epoch: int | None = None,
    ) -> Task:
        """Complete a task for good; what it cost is charged as far as it was not reported before.

        A repeat is accepted. Raises as `rules.holder_claim`.
        """

        def rule(task: Task, now: datetime) -> tuple[Task, dict[str, object]]:
            done = rules.complete(task, now, result_json=result_json, cost_micros=cost_micros)
            charged = done.spent_micros - task.spent_micros
            return done, {"cost_micros": done.cost_micros, "charged_micros": charged}

        def counted(held: TaskClaim, done: Task) -> Effect:
            return self._counting.succeeded(
                swarm_id,
                held.claim_time,
                cost_micros=done.cost_micros,
                bound_micros=self._settlement.bound(done, held),
            )

        return await self._end(swarm_id, task_id, attempt, epoch, EndKind.COMPLETED, rule, counted)

    async def fail(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        *,
        reason: str,
        kind: FailureKind,
        retry_time: datetime | None,
        epoch: int | None = None,
    ) -> Task:
        """End an attempt without success; the retry policy decides what follows.

        A failure of the swarm's provider pauses its credential pool until `retry_time` instead.
        A repeat is accepted. Raises as `rules.holder_claim`.
        """

        def rule(task: Task, now: datetime) -> tuple[Task, dict[str, object]]:
            failed = rules.fail(task, now, reason=reason, kind=kind, retry_time=retry_time)
            details: dict[str, object] = {"reason": reason, "state": failed.state.value}
            return failed, details | {"failures": failed.failures}

        def counted(held: TaskClaim, _failed: Task) -> Effect:
            if kind.providers:
                return self._counting.provider_refused(swarm_id, reason, retry_time)
            if kind is FailureKind.PERMANENT:
                # The task is to blame, which no swarm could do.
                return Effect()
            failed = self._counting.failed(swarm_id, task_id, held.claim_time)
            return failed.also(self._settlement.let_down(held, task_id))

        async with self._counting.turn(swarm_id):
            return await self._end(swarm_id, task_id, attempt, epoch, EndKind.FAILED, rule, counted)

    async def extend(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        epoch: int | None = None,
        *,
        ttl: timedelta | None = None,
    ) -> Task:
        """Give a claim made outside a session its whole time to live again, or `ttl`."""

        def rule(task: Task) -> Decision | None:
            held = rules.holder_claim(task, swarm_id, attempt)
            if held.expire_time is None:
                return None
            extended = rules.extend(task, self._records.clock.now(), ttl or self._ttl)
            fact = Fact("claim_extended", swarm_id, task_id, attempt)
            return Decision(extended, [fact], self.same_session(swarm_id, epoch))

        return await self.change(task_id, rule, swarm_id, epoch)

    async def progress(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        *,
        percent: int,
        note: str,
        blocked_on: tuple[str, ...],
        next_action: str,
        request_id: str = "",
        epoch: int | None = None,
        ttl: timedelta | None = None,
    ) -> Task:
        """Record a milestone and extend the claim, by `ttl`. Raises as `rules.holder_claim`.

        A repeat of the last milestone by its request id changes nothing, even when its holder
        has ended the claim since.
        """
        said = Milestone(
            percent=percent,
            note=note,
            blocked_on=blocked_on,
            next_action=next_action,
            request_id=request_id,
        )

        def rule(task: Task) -> Decision | None:
            if rules.repeats_milestone(task, swarm_id, attempt, said):
                return None
            rules.holder_claim(task, swarm_id, attempt)
            reported = rules.progress(task, self._records.clock.now(), ttl or self._ttl, said)
            details = {"milestone_percent": percent, "note": note}
            fact = Fact("progress_reported", swarm_id, task_id, attempt, details)
            return Decision(reported, [fact], self.same_session(swarm_id, epoch))

        return await self.change(task_id, rule, swarm_id, epoch)

    async def lose(
        self, swarm_id: str, task_id: str, attempt: int, kind: LossKind, *compares: Compare
    ) -> Task | None:
        """Take a task from its holder, if it still holds it under `attempt` and `compares` hold.

        Returns the task as it is then, None when there was nothing to take.
        """
        entry = self._records.tasks.entry(task_id)
        while entry is not None:
            held = entry.value.claim
            if held is None or not rules.holds(entry.value, swarm_id, attempt):
                return None
            lost = self.taken_back(entry.value, held, kind)
            result = await self._records.commit(
                [unchanged(entry.key, entry.mod_revision), *compares],
                [self._records.tasks.put(task_id, lost.task), *lost.writes],
                lost.facts,
            )
            if result.succeeded:
                return lost.task
            following = self._records.tasks.entry(task_id)
            if following == entry:
                return None  # one of `compares` failed: the reason to take it is gone
            entry = following
        return None

    def taken_back(self, task: Task, held: TaskClaim, kind: LossKind) -> Decision:
        """Return what taking a task from its holder changes."""
        resolution = f"the claim was lost: {kind}"
        fact = Fact(
            "claim_taken_back", held.swarm_id, task.task_id, held.attempt, {"kind": kind.value}
        )
        writes = self.resolved_blocker(held.swarm_id, task.task_id, resolution)
        writes.extend(self._settlement.lost(held, task.task_id, kind))
        return Decision(rules.lose(task, kind), [fact], (), writes)

    def taken_over(self, task: Task, held: TaskClaim) -> Decision:
        """Return what changes when a new process of the holder goes on with a task."""
        taken = rules.take_over(task, self._records.clock.now())
        fact = Fact("claim_taken_over", held.swarm_id, task.task_id, taken.attempt)
        return Decision(taken, [fact], (), self._settlement.fenced(held, task.task_id))

    async def _end(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        epoch: int | None,
        kind: EndKind,
        rule: Callable[[Task, datetime], tuple[Task, dict[str, object]]],
        counted: Callable[[TaskClaim, Task], Effect] = lambda _held, _ended: Effect(),
    ) -> Task:
        def decide(task: Task) -> Decision | None:
            if rules.repeats(task, swarm_id, attempt, kind):
                return None
            held = rules.holder_claim(task, swarm_id, attempt)
            ended, details = rule(task, self._records.clock.now())
            if held.drawn_micros:
                details["drawn_micros"] = held.drawn_micros
            writes = self.resolved_blocker(swarm_id, task_id, f"the task was {kind}")
            writes.extend(self._settlement.ended(held, ended, kind))
            breaker = counted(held, ended)
            return Decision(
                ended,
                [Fact(f"task_{kind}", swarm_id, task_id, attempt, details)],
                [*self.same_session(swarm_id, epoch), *breaker.compares],
                [*writes, *breaker.writes],
            )

        return await self.change(task_id, decide, swarm_id, epoch)

    async def change(
        self,
        task_id: str,
        rule: Callable[[Task], Decision | None],
        swarm_id: str,
        epoch: int | None,
    ) -> Task:
        """Apply `rule` to a task by the word of its holder, as `Records.change` does."""

        def in_session(task: Task) -> Decision | None:
            self.check_epoch(swarm_id, epoch)
            return rule(task)

        mirror = self._records.mirror
        try:
            return await second_look(
                lambda: self._records.change(task_id, in_session), mirror.catch_up
            )
        except FabricError as error:
            if error.reason in _FENCED:
                reason = error.reason.value.lower()
                self._flood.count("message_fenced", swarm_id, task_id, reason)
            raise

    def resolved_blocker(self, swarm_id: str, task_id: str, resolution: str) -> list[Write]:
        """Return the write that closes the open blocker of a claim that ends, if there is one."""
        alert = self._records.open_blocker(swarm_id, task_id)
        if alert is None:
            return []
        now = self._records.clock.now()
        closed = alert.model_copy(
            update={"resolve_time": now, "update_time": now, "resolution": resolution}
        )
        return [self._records.blockers.put(alert.blocker_id, closed)]

    def same_session(self, swarm_id: str, epoch: int | None) -> list[Compare]:
        """Return what refuses a transaction once the session that it came through is over."""
        return self._winning.same_session(swarm_id, epoch)

    def check_epoch(self, swarm_id: str, epoch: int | None) -> None:
        """Raise SESSION_FENCED or SESSION_EXPIRED when a session is over."""
        self._winning.check_epoch(swarm_id, epoch)
