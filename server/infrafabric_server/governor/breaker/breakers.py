"""Opening and closing breakers by hand or by what the accounts say, and resuming pools."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.governor.breaker import rules
from infrafabric_server.governor.breaker.counting import Counting
from infrafabric_server.governor.breaker.models import Breaker, BreakerCause, BreakerState, Pool
from infrafabric_server.governor.breaker.records import BreakerGate, BreakerRecords
from infrafabric_server.governor.listing import Part, filtered
from infrafabric_server.governor.persons import require_person, seen_as
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.models import Budget, swarm_account
from infrafabric_server.store.mirror import Mirror, Write
from infrafabric_server.store.protocol import Compare, absent, present, unchanged
from infrafabric_server.store.view import AnyView
from infrafabric_server.witness.outbox import Outbox

# A decision that has lost this many races in a row is given up; the coordinator's limit, too.
_MAX_TRIES = 32
# A position in the list that sorts before the id of every swarm.
_HOLD = " "


@dataclass(frozen=True, slots=True)
class ListedPool:
    """A paused pool and the registered swarms that share it."""

    pool: Pool
    swarm_ids: tuple[str, ...]


class Breakers:
    """Use cases of the circuit breakers; each is one transaction with its witness entry.

    A scope is the id of a swarm, or "" for the hold of the whole fabric.
    """

    def __init__(
        self,
        mirror: Mirror,
        fleet: Fleet,
        records: BreakerRecords,
        counting: Counting,
        ledger: Ledger,
        outbox: Outbox,
        clock: Clock,
        book: PolicyBook,
    ) -> None:
        self.records = records
        self.counting = counting
        self.gate = BreakerGate(records, clock)
        self._mirror = mirror
        self._fleet = fleet
        self._ledger = ledger
        self._outbox = outbox
        self._clock = clock
        self._book = book

    @classmethod
    def over(
        cls,
        mirror: Mirror,
        fleet: Fleet,
        ledger: Ledger,
        outbox: Outbox,
        clock: Clock,
        book: PolicyBook,
    ) -> "Breakers":
        """Connect the breakers over views that they declare, before the mirror starts."""
        records = BreakerRecords(mirror, fleet)
        counting = Counting(mirror, records, outbox, clock, book)
        fleet.swarms.subscribe(counting.profile_changed)
        return cls(mirror, fleet, records, counting, ledger, outbox, clock, book)

    async def trip(
        self, scope: str, cause: BreakerCause, detail: str, *compares: Compare
    ) -> Breaker:
        """Open a breaker; one that is open stays as it is, with its first cause.

        Args:
            scope: whose.
            cause: what sort of thing opens it.
            detail: the same with its numbers, 1 to 4096 characters.
            compares: what else must hold; otherwise the breaker is returned as it is.

        Raises:
            FabricError: SWARM_NOT_FOUND, CONTENTION, OUTBOX_FULL.
        """
        return await self._repeated(
            lambda: self._trip_circuit_breaker(scope, cause, detail, compares)
        )

    async def _trip_circuit_breaker(
        self, scope: str, cause: BreakerCause, detail: str, compares: Sequence[Compare]
    ) -> Breaker | None:
        """Open a breaker in one transaction; None when what it saw has changed."""
        breaker = self.records.of(scope)
        if breaker.open:
            return breaker
        if scope and scope not in self._fleet.swarms:
            raise _unknown(scope)
        there = [present(self._fleet.swarms.key(scope))] if scope else []
        self._outbox.check()
        result = await self._mirror.commit(
            [self.records.same(scope), *there, *compares],
            self.counting.opened(breaker, cause, detail),
        )
        if result.succeeded:
            return self.records.of(scope)
        await self._mirror.caught_up(result.revision)
        # Without a change of the breaker or the swarm, it is one of `compares` that failed.
        same = self.records.of(scope) == breaker and bool(compares)
        return breaker if same else None

    async def reset(
        self, scope: str, approver: str, reason: str, new_budget_micros: int | None = None
    ) -> Breaker:
        """Close a breaker in the name of a person; no breaker closes by itself.

        Args:
            scope: whose.
            approver: who takes responsibility; not a swarm, nor one that is remembered, nor what
                reads as the id of one.
            reason: why it is safe now.
            new_budget_micros: the swarm's new limit, in micro-US-dollars; None leaves it.

        Raises:
            FabricError: SWARM_NOT_FOUND, CONTENTION, OUTBOX_FULL.
            InvalidField: the approver is a swarm, a text is empty, or the budget is spent.
        """
        approver, reason = require_person("approver", approver), reason.strip()
        name = seen_as(approver)

        async def attempt() -> Breaker | None:
            breaker = self.records.of(scope)
            known = not scope or scope in self._fleet.swarms
            if not known and scope not in self.records.breakers:
                raise _unknown(scope)
            self._check_approval(scope, name, reason)
            traces = (absent(view.key(id_)) for view, id_ in self._traces(name))
            compares = [self.records.same(scope), *traces]
            budget = self._budget(scope, new_budget_micros)
            said = (breaker.approver, breaker.reset_reason)
            if not breaker.open and budget is None and said == (approver, reason):
                return breaker
            closed = rules.reset(
                breaker, approver, reason, self._clock.now(), revision=self._mirror.revision
            )
            writes: list[Write] = [self.records.put(closed)]
            if not known:
                # The swarm is deregistered, and a closed breaker tells nothing of it.
                compares.append(absent(self._fleet.swarms.key(scope)))
                writes = [self.records.breakers.delete(scope)]
            if budget is not None:
                compares.append(budget[0])
                writes.append(budget[1])
            self._outbox.check()
            writes.append(self._reset_entry(breaker, closed, new_budget_micros))
            result = await self._mirror.commit(compares, writes)
            if result.succeeded:
                return closed
            await self._mirror.caught_up(result.revision)
            return None

        return await self._repeated(attempt)

    async def resume(self, pool_id: str) -> None:
        """Give the swarms of a pool work again, if its pause is over."""
        entry = self.records.pools.entry(pool_id)
        if entry is None or entry.value.paused_until > self._clock.now():
            return
        self._outbox.check()
        details = {"pool_id": pool_id, "paused_until": entry.value.paused_until.isoformat()}
        await self._mirror.commit(
            [unchanged(entry.key, entry.mod_revision)],
            [
                self.records.pools.delete(pool_id),
                self._outbox.draft("governor", "pool_resumed", details=details),
            ],
        )

    async def page(self, state: BreakerState | None, after: str, limit: int) -> Part[Breaker]:
        """Return breakers that ever opened or count failures, by swarm, after an id.

        The hold of the fabric is before the first one. `state` None is every state.
        """
        hold = self.records.of("")
        first = [hold] if not after and _shown(hold, state) else []
        # After the hold, which is of no swarm, come all swarms.
        rest = await filtered(
            self.records.breakers,
            after or _HOLD,
            limit - len(first),
            lambda each: _shown(each, state),
        )
        return Part([*first, *rest.found], rest.position)

    def paused(self, most: int) -> list[ListedPool]:
        """Return the pools that are paused, by name, each with at most so many of its swarms."""
        now = self._clock.now()
        pools = sorted(
            (pool for _, pool in self.records.pools.items() if pool.paused_until > now),
            key=lambda pool: pool.pool_id,
        )
        members = self.records.members
        return [ListedPool(each, tuple(members(each.pool_id)[:most])) for each in pools]

    async def _repeated(self, attempt: Callable[[], Awaitable[Breaker | None]]) -> Breaker:
        # What is seen as open, closed or unknown may have changed at another replica just now.
        await self._mirror.catch_up()
        for _ in range(_MAX_TRIES):
            breaker = await attempt()
            if breaker is not None:
                return breaker
        raise FabricError(
            Reason.CONTENTION, "the breaker changes too fast; try again", retry_after=0.1
        )

    def _check_approval(self, scope: str, approver: str, reason: str) -> None:
        """Refuse a name that reads as the id of a swarm, and an empty reason."""
        if approver in self._fleet.swarms:
            rule = f"must be a person; {approver} is a registered swarm"
            raise InvalidField(FieldViolation("approver", rule))
        # The id of a swarm that was deregistered is not the name of a person either.
        if approver == scope or any(id_ in view for view, id_ in self._traces(approver)):
            rule = f"must be a person; {approver} is or was a swarm"
            raise InvalidField(FieldViolation("approver", rule))
        if not reason:
            raise InvalidField(FieldViolation("reason", "must say why it is safe now"))

    def _traces(self, name: str) -> list[tuple[AnyView, str]]:
        """Return every place where the store has a record of a swarm of this name, if any has."""
        account = swarm_account(name)
        return [
            (self._fleet.swarms, name),
            (self._fleet.former, name),
            (self._fleet.statuses, name),
            (self._fleet.departed, name),
            (self.records.breakers, name),
            (self._ledger.budgets, account),
            (self._ledger.spending, account),
        ]

    def _budget(self, scope: str, limit: int | None) -> tuple[Compare, Write] | None:
        """Return the new limit of a swarm, if there is one to be set.

        Raises InvalidField when the breaker would open again at once.
        """
        if not scope:
            if limit is not None:
                rule = "is the limit of a swarm; leave it out for the hold of the fabric"
                raise InvalidField(FieldViolation("new_budget_micros", rule))
            return None
        account, now = swarm_account(scope), self._clock.now()
        entry = self._ledger.budgets.entry(account)
        known = None if entry is None else entry.value
        wanted = limit if limit is not None or known is None else known.limit_micros
        spent = rules.exhausted(wanted, self._ledger.spent(account, now))
        if spent:
            rule = f"must be more than what is spent, or it opens again at once: {spent}"
            raise InvalidField(FieldViolation("new_budget_micros", rule))
        if limit is None or (known is not None and limit == known.limit_micros):
            return None
        changes = {"limit_micros": limit, "update_time": now}
        budget = (known or Budget(update_time=now)).model_copy(update=changes)
        seen = 0 if entry is None else entry.mod_revision
        view = self._ledger.budgets
        return unchanged(view.key(account), seen), view.put(account, budget)

    def _reset_entry(self, before: Breaker, closed: Breaker, budget: int | None) -> Write:
        details: dict[str, JsonValue] = {
            "approver": closed.approver,
            "reason": closed.reset_reason,
            "was_open": before.open,
            "cause": before.cause.value if before.cause is not None else None,
            "new_budget_micros": budget,
            "policy_hash": self._book.current.hash,
        }
        operation = "breaker_reset" if closed.swarm_id else "hold_reset"
        return self._outbox.draft("governor", operation, swarm_id=closed.swarm_id, details=details)


def _shown(breaker: Breaker, state: BreakerState | None) -> bool:
    known = breaker.open_time is not None or breaker.consecutive_failures > 0
    return known and state in (None, breaker.state)


def _unknown(swarm_id: str) -> FabricError:
    return FabricError(Reason.SWARM_NOT_FOUND, f"no swarm has the id {swarm_id}")
