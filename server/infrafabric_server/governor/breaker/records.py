"""The stored breakers, the hold and the pools, and what stands on them: the gate."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infrafabric_server.clock import Clock
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.breaker.models import FABRIC, Breaker, Pool, pool_of
from infrafabric_server.governor.gate import Barrier, Closed
from infrafabric_server.store.mirror import Mirror, View, Write
from infrafabric_server.store.protocol import Compare, unchanged
from infrafabric_server.store.view import Change


@dataclass(frozen=True, slots=True)
class Effect:
    """What a breaker adds to the transaction of something else."""

    compares: tuple[Compare, ...] = ()
    writes: tuple[Write, ...] = ()

    def also(self, writes: Sequence[Write]) -> "Effect":
        """Return the effect with further writes."""
        return Effect(self.compares, (*self.writes, *writes))


class BreakerRecords:
    """Views of what keeps work from swarms, over views that it declares."""

    def __init__(self, mirror: Mirror, fleet: Fleet) -> None:
        self.breakers = mirror.view("breakers/", Breaker)
        self.holds = mirror.view("holds/", Breaker)
        self.pools = mirror.view("pools/", Pool)
        self._fleet = fleet
        self._members: defaultdict[str, set[str]] = defaultdict(set)
        fleet.swarms.subscribe(self._profile_changed)

    def of(self, swarm_id: str) -> Breaker:
        """Return the breaker of a swarm, "" for the fabric; one that never opened if unknown."""
        view, id_ = self.place(swarm_id)
        return view.get(id_) or Breaker(swarm_id=swarm_id)

    def place(self, swarm_id: str) -> tuple[View[Breaker], str]:
        """Return where the breaker of a swarm is stored; "" is the fabric."""
        return (self.breakers, swarm_id) if swarm_id else (self.holds, FABRIC)

    def same(self, swarm_id: str) -> Compare:
        """Return the condition that a breaker is as it is seen here."""
        view, id_ = self.place(swarm_id)
        return _same(view, id_)

    def put(self, breaker: Breaker) -> Write:
        """Return the write of a breaker."""
        view, id_ = self.place(breaker.swarm_id)
        return view.put(id_, breaker)

    def in_force(self, swarm_id: str) -> Breaker | None:
        """Return what keeps a swarm from working now: the hold, its own breaker, or None."""
        return next(self.all_in_force(swarm_id), None)

    def all_in_force(self, swarm_id: str) -> Iterator[Breaker]:
        """Yield what keeps a swarm from working now: the hold, then its own breaker."""
        for each in (self.holds.get(FABRIC), self.breakers.get(swarm_id)):
            if each is not None and each.open:
                yield each

    def pool_id(self, swarm_id: str) -> str:
        """Return the pool of a swarm."""
        profile = self._fleet.swarms.get(swarm_id)
        return pool_of(swarm_id, "" if profile is None else profile.credential_pool)

    def same_pool(self, pool_id: str) -> Compare:
        """Return the condition that a pool is as it is seen here."""
        return _same(self.pools, pool_id)

    def members(self, pool_id: str) -> list[str]:
        """Return the registered swarms of a pool, sorted."""
        return sorted(self._members.get(pool_id, ()))

    def _profile_changed(self, change: Change[SwarmProfile]) -> None:
        if change.old is not None:
            pool = pool_of(change.id, change.old.credential_pool)
            self._members[pool].discard(change.id)
            if not self._members[pool]:
                del self._members[pool]
        if change.new is not None:
            self._members[pool_of(change.id, change.new.credential_pool)].add(change.id)


class BreakerGate:
    """The gate of holds, paused pools and open breakers; see Gate."""

    def __init__(self, records: BreakerRecords, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    def closed(self, swarm_id: str) -> Closed | None:
        """See Gate."""
        found = self._records.in_force(swarm_id)
        if found is not None and not found.swarm_id:
            return Closed(Barrier.HOLD, f"the fabric is on hold: {found.detail}")
        pool = self._records.pools.get(self._records.pool_id(swarm_id))
        if pool is not None and pool.paused_until > self._clock.now():
            until = pool.paused_until.isoformat(timespec="seconds")
            return Closed(Barrier.HOLD, f"credential pool {pool.pool_id} is paused until {until}")
        if found is not None:
            return Closed(
                Barrier.BREAKER_OPEN,
                f"the circuit breaker of {swarm_id} is open ({found.cause}): {found.detail};"
                " only a reset closes it",
            )
        return None

    def compares(self, swarm_id: str) -> Sequence[Compare]:
        """See Gate."""
        records = self._records
        return (
            records.same(""),
            records.same(swarm_id),
            records.same_pool(records.pool_id(swarm_id)),
        )


def _same(view: View[Breaker] | View[Pool], id_: str) -> Compare:
    entry = view.entry(id_)
    return unchanged(view.key(id_), 0 if entry is None else entry.mod_revision)
