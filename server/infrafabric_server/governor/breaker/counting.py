"""What the end of an attempt does to its swarm's breaker, in the same transaction."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from infrafabric_server.clock import Clock
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.breaker import rules
from infrafabric_server.governor.breaker.models import Breaker, BreakerCause, Outcome, Pool
from infrafabric_server.governor.breaker.records import BreakerRecords, Effect
from infrafabric_server.governor.breaker.tally import Tally
from infrafabric_server.governor.policy.book import Effective, PolicyBook
from infrafabric_server.governor.turns import Turns
from infrafabric_server.store.mirror import Change, Mirror, Write
from infrafabric_server.witness.outbox import Outbox

# How long a pool is paused whose provider did not say until when, and the bounds of what it says.
_PAUSE = timedelta(minutes=1)
_SHORTEST = timedelta(seconds=1)
_LONGEST = timedelta(days=1)


class Counting:
    """Decides on breakers as the views show them; the transaction compares that they still are so.

    A success is written only where it ends a row of failures or took too long: others are
    counted in memory, from the views, until something is written.
    """

    def __init__(
        self,
        mirror: Mirror,
        records: BreakerRecords,
        outbox: Outbox,
        clock: Clock,
        book: PolicyBook,
    ) -> None:
        self._mirror = mirror
        self._records = records
        self._outbox = outbox
        self._clock = clock
        self._book = book
        self._tally = Tally()
        self._turns = Turns()
        records.breakers.subscribe(lambda change: self._written(change.id, change.new))

    def turn(self, swarm_id: str) -> asyncio.Lock:
        """Return the lock under which the failures of a swarm are counted, one after the other.

        Each transaction compares the count that it adds to: of two at once, one would be refused.
        """
        return self._turns.of(swarm_id)

    def profile_changed(self, change: Change[SwarmProfile]) -> None:
        """Drop the successes of a swarm that are counted in memory, when it is deregistered."""
        if change.new is None:
            self._tally.drop(change.id)

    def saw_success(
        self, swarm_id: str, revision: int, begun: datetime | None, ended: datetime
    ) -> None:
        """Note an attempt that ended well, as a view shows it; one that was slow is written."""
        settings = self._book.current.policy.breaker_for(swarm_id)
        span, watched = settings.window, settings.max_slow_rate is not None
        if watched and begun is not None and ended - begun >= settings.slow_after:
            return
        if revision > self._records.of(swarm_id).counted_revision:
            self._tally.add(swarm_id, revision, ended)
            self._tally.fade(swarm_id, self._clock.now(), span)

    def failed(self, swarm_id: str, task_id: str, begun: datetime) -> Effect:
        """Return what a failure of an attempt that began at a time changes."""
        breaker = self._records.of(swarm_id)
        if breaker.open:
            return Effect()
        outcome = self._outcome(swarm_id, begun, failed=1)
        return self._decided(breaker, rules.failed(self._with(breaker, outcome), task_id))

    def succeeded(
        self, swarm_id: str, begun: datetime, *, cost_micros: int, bound_micros: int | None
    ) -> Effect:
        """Return what a success of an attempt that began at a time changes, if anything."""
        breaker = self._records.of(swarm_id)
        if breaker.open:
            return Effect()
        beyond = rules.overrun(cost_micros, bound_micros)
        if beyond:
            return self._decided(breaker, breaker, (BreakerCause.OVERRUN, beyond))
        outcome = self._outcome(swarm_id, begun)
        settings = self._book.current.policy.breaker_for(swarm_id)
        watched = settings.max_slow_rate is not None
        if not (outcome.slow and watched) and not breaker.consecutive_failures:
            return Effect()
        after = rules.succeeded(breaker)
        if outcome.slow and watched:
            after = self._with(after, outcome)
        return self._decided(breaker, after)

    def drawn(self, swarm_id: str, *, cost_micros: int, bound_micros: int | None) -> Effect:
        """Return what a cost that is reported while an attempt runs changes, if anything."""
        beyond = rules.overrun(cost_micros, bound_micros)
        return self.overran(swarm_id, beyond) if beyond else Effect()

    def overran(self, swarm_id: str, detail: str) -> Effect:
        """Return what a cost beyond what may be spent changes: `detail` has the numbers."""
        breaker = self._records.of(swarm_id)
        if breaker.open:
            return Effect()
        return self._decided(breaker, breaker, (BreakerCause.OVERRUN, detail))

    def provider_refused(self, swarm_id: str, reason: str, retry_time: datetime | None) -> Effect:
        """Return the pause of a swarm's pool: its provider has no quota left until a time."""
        now = self._clock.now()
        until = retry_time or now + _PAUSE
        until = min(max(until, now + _SHORTEST), now + _LONGEST)
        pool_id = self._records.pool_id(swarm_id)
        paused = self._records.pools.get(pool_id)
        same = self._records.same_pool(pool_id)
        if paused is not None and paused.paused_until >= until:
            return Effect((same,))
        details = {
            "pool_id": pool_id,
            "paused_until": until.isoformat(),
            "reason": reason,
        }
        pool = Pool(pool_id=pool_id, paused_until=until, reason=reason)
        entry = self._outbox.draft("governor", "pool_paused", swarm_id=swarm_id, details=details)
        return Effect((same,), (self._records.pools.put(pool_id, pool), entry))

    def opened(self, breaker: Breaker, cause: BreakerCause, detail: str) -> list[Write]:
        """Return the writes that open a breaker, with its witness entry."""
        effective = self._book.current
        policy, scope = effective.policy, breaker.swarm_id
        settings = policy.breaker_for(scope) if scope else policy.breaker
        after = rules.tripped(
            breaker,
            cause,
            detail,
            self._clock.now(),
            grace=settings.halt_grace,
            policy_hash=effective.hash,
        )
        return [self._records.put(after), *self._entry(after, effective)]

    def _decided(
        self, seen: Breaker, after: Breaker, why: tuple[BreakerCause, str] | None = None
    ) -> Effect:
        why = why or rules.opening(after, self._book.current.policy.breaker_for(after.swarm_id))
        writes: Sequence[Write] = (self._records.put(after),)
        if why is not None:
            writes = self.opened(after, *why)
        return Effect((self._records.same(seen.swarm_id),), tuple(writes))

    def _entry(self, breaker: Breaker, effective: Effective) -> list[Write]:
        assert breaker.cause is not None
        assert breaker.fence_time is not None
        details = {
            "cause": breaker.cause.value,
            "detail": breaker.detail,
            "fence_time": breaker.fence_time.isoformat(),
            "consecutive_failures": breaker.consecutive_failures,
            "policy_hash": effective.hash,
        }
        operation = "breaker_opened" if breaker.swarm_id else "hold_opened"
        return [
            self._outbox.draft("governor", operation, swarm_id=breaker.swarm_id, details=details)
        ]

    def _outcome(self, swarm_id: str, begun: datetime, *, failed: int = 0) -> Outcome:
        now = self._clock.now()
        slow = now - begun >= self._book.current.policy.breaker_for(swarm_id).slow_after
        return Outcome(time=now, calls=1, failed=failed, slow=int(slow))

    def _with(self, breaker: Breaker, outcome: Outcome) -> Breaker:
        until = self._mirror.revision
        done = self._tally.between(breaker.swarm_id, breaker.counted_revision, until)
        span = self._book.current.policy.breaker_for(breaker.swarm_id).window
        after = rules.counted(breaker, (*done, outcome), self._clock.now(), span)
        return after.model_copy(update={"counted_revision": max(until, breaker.counted_revision)})

    def _written(self, swarm_id: str, breaker: Breaker | None) -> None:
        if breaker is None:
            self._tally.drop(swarm_id)
        else:
            self._tally.forget(swarm_id, breaker.counted_revision)
