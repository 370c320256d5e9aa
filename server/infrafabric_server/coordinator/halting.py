"""What follows when a breaker opens or closes, the fabric is held, or a pool is paused."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from infrafabric_server.coordinator.background import Background
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.endings import Endings
from infrafabric_server.coordinator.frames import Halt
from infrafabric_server.coordinator.link import Links, SessionLink
from infrafabric_server.coordinator.models import LossKind, Task, TaskState
from infrafabric_server.coordinator.offers import Offers
from infrafabric_server.coordinator.records import Records
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.breaker.models import Breaker, Pool
from infrafabric_server.store.mirror import Change

# Claims that are looked at in one turn of the event loop: some milliseconds.
_TURN = 256


class Halting:
    """Has the sessions of a swarm halt, then takes from it what it still holds.

    Each replica tells the sessions that it has, and looks again at what they may be given.
    The one that leads takes claims and offers away, and resumes pools; it finds out from the
    views what is left to be done whenever it begins to lead.
    """

    def __init__(
        self,
        records: Records,
        breakers: Breakers,
        claims: Claims,
        endings: Endings,
        offers: Offers,
        capacity: Capacity,
        links: Links,
        timers: Timers,
        background: Background,
        leadership: Leadership,
        refresh: Callable[[str], None],
    ) -> None:
        """Take `refresh`, which looks again at what a swarm may be given."""
        self._records = records
        self._breakers = breakers
        self._claims = claims
        self._endings = endings
        self._offers = offers
        self._capacity = capacity
        self._links = links
        self._timers = timers
        self._background = background
        self._leadership = leadership
        self._refresh = refresh

    def connect(self) -> None:
        """Listen to the views; call once, before the mirror starts."""
        stored = self._breakers.records
        stored.breakers.subscribe(self._breaker_changed)
        stored.holds.subscribe(lambda change: self._breaker_changed(change, fabric=True))
        stored.pools.subscribe(self._pool_changed)
        self._records.tasks.subscribe(self._task_changed)
        self._leadership.follow(self._leads)

    def greet(self, link: SessionLink) -> None:
        """Tell a session that has just opened to halt, if it must."""
        breaker = self._breakers.records.in_force(link.swarm_id)
        if breaker is not None:
            self._tell(link, breaker)

    def _tell(self, link: SessionLink, breaker: Breaker) -> None:
        left = 0.0
        if breaker.fence_time is not None:
            left = (breaker.fence_time - self._records.clock.now()).total_seconds()
        link.send(Halt(breaker, max(0.0, left)))

    def _breaker_changed(self, change: Change[Breaker], *, fabric: bool = False) -> None:
        scope = "" if fabric else change.id
        before = change.old is not None and change.old.open
        breaker = change.new
        if breaker is None or not breaker.open:
            self._timers.clear(f"fence:{scope}")
            if before:
                self._look_again(self._swarms_of(scope))
            return
        if before:
            return
        for swarm_id in self._swarms_of(scope):
            link = self._links.get(swarm_id)
            if link is not None:
                self._tell(link, breaker)
        self._look_again(self._swarms_of(scope))
        self._arm(scope, breaker)

    def _arm(self, scope: str, breaker: Breaker) -> None:
        """Set off what is due now, and have the claims that are left taken in time."""
        if scope:
            for task_id in self._offers.on_offer_to(scope):
                self._unoffer(task_id, scope)
        self._set_fencing(scope, breaker)

    def _set_fencing(self, scope: str, breaker: Breaker) -> None:
        if breaker.fence_time is not None:
            left = (breaker.fence_time - self._records.clock.now()).total_seconds()
            self._timers.set(f"fence:{scope}", left, lambda: self._fence(scope))

    def _leads(self, leading: bool) -> None:
        """Set off what nobody, or another leader, has left undone."""
        if not leading:
            return
        stored = self._breakers.records
        for view in (stored.breakers, stored.holds):
            for entry in list(view.entries()):
                if entry.value.open:
                    self._arm(entry.value.swarm_id, entry.value)
        for pool_id, pool in list(stored.pools.items()):
            self._set_resuming(pool_id, pool)

    def _swarms_of(self, scope: str) -> list[str]:
        """Return the swarms whose sessions a breaker concerns."""
        return [scope] if scope else list(self._records.fleet.sessions)

    def _look_again(self, swarms: Iterable[str]) -> None:
        for swarm_id in swarms:
            self._refresh(swarm_id)

    def _fence(self, scope: str) -> None:
        breaker = self._breakers.records.of(scope)
        if breaker.fence_time is not None and breaker.fence_time > self._records.clock.now():
            # The time of day was set back meanwhile.
            self._set_fencing(scope, breaker)
        elif self._leadership.leading:
            self._background.spawn(f"fence:{scope}", partial(self._take_all, scope))

    async def _take_all(self, scope: str) -> None:
        held = self._capacity.holdings(scope) if scope else self._records.tasks
        for place, task_id in enumerate(list(held)):
            if place % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            task = self._records.tasks.get(task_id)
            if task is not None and task.claim is not None:
                await self._take(task_id)

    async def _take(self, task_id: str) -> None:
        """Take a claim from a swarm whose time to halt is over."""
        task = self._records.tasks.get(task_id)
        held = None if task is None else task.claim
        breaker = None if held is None else self._overdue(held.swarm_id)
        if held is not None and breaker is not None:
            same = self._breakers.records.same(breaker.swarm_id)
            await self._claims.lose(held.swarm_id, task_id, held.attempt, LossKind.HALTED, same)

    def _overdue(self, swarm_id: str) -> Breaker | None:
        """Return the breaker by which a swarm must hold nothing any more, if there is one."""
        now = self._records.clock.now()
        for each in self._breakers.records.all_in_force(swarm_id):
            if each.fence_time is None or each.fence_time <= now:
                return each
        return None

    def _task_changed(self, change: Change[Task]) -> None:
        task = change.new
        if task is None:
            return
        held = task.claim
        if held is not None:
            # A new process of a swarm takes its claims over under new attempts.
            if self._leadership.leading and self._overdue(held.swarm_id) is not None:
                self._background.spawn(f"halt:{task.task_id}", partial(self._take, task.task_id))
        elif task.offered_to:
            if self._breakers.records.of(task.offered_to).open:
                self._unoffer(task.task_id, task.offered_to)
        elif task.state is TaskState.COMPLETED:
            self._note_success(change.old, task)

    def _note_success(self, old: Task | None, done: Task) -> None:
        entry, end = self._records.tasks.entry(done.task_id), done.last_end
        if entry is None or end is None or (old is not None and old.state.ended):
            return
        held = None if old is None else old.claim
        begun = None if held is None else held.claim_time
        ended = done.end_time or self._records.clock.now()
        self._breakers.counting.saw_success(end.swarm_id, entry.mod_revision, begun, ended)

    def _unoffer(self, task_id: str, swarm_id: str) -> None:
        if self._leadership.leading:
            self._background.spawn(
                f"unoffer:{task_id}", partial(self._endings.withdraw_offer, task_id, swarm_id)
            )

    def _pool_changed(self, change: Change[Pool]) -> None:
        if change.new is None:
            self._timers.clear(f"pool:{change.id}")
        else:
            self._set_resuming(change.id, change.new)
        self._look_again(self._breakers.records.members(change.id))

    def _set_resuming(self, pool_id: str, pool: Pool) -> None:
        left = (pool.paused_until - self._records.clock.now()).total_seconds()
        self._timers.set(f"pool:{pool_id}", left, lambda: self._pause_over(pool_id))

    def _pause_over(self, pool_id: str) -> None:
        pool = self._breakers.records.pools.get(pool_id)
        if pool is None:
            return
        if pool.paused_until > self._records.clock.now():
            # The time of the fabric was moved meanwhile.
            self._set_resuming(pool_id, pool)
            return
        self._look_again(self._breakers.records.members(pool_id))
        if self._leadership.leading:
            self._background.spawn(f"resume:{pool_id}", partial(self._breakers.resume, pool_id))
