"""Counts what was noted into the standings of swarms: the work of the replica that leads."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice

import structlog

from infrafabric_server.chassis import slo, standing
from infrafabric_server.chassis.levels import Levels
from infrafabric_server.chassis.reputations import Reputations
from infrafabric_server.chassis.slo import ObjectiveKind
from infrafabric_server.chassis.standing import Outcome, Standing
from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.store.mirror import Entry, Mirror
from infrafabric_server.store.protocol import (
    Compare,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
    unchanged,
)
from infrafabric_server.store.view import Write

# Outcomes in one transaction: about two milliseconds of the event loop.
BATCH = 64
# Swarms in one: a standing is up to 25 kB, a request to etcd at most 8 MiB.
_SWARMS = 100
# Each round writes what a swarm's standing is, some kilobytes: rare, as what is not counted yet
# counts all the same.
_PAUSE_SECONDS = 5.0
_TIDY_EVERY = timedelta(hours=1)
# Who starts is as far behind the others at most, until it is told again.
_TELL_SECONDS = 60.0
_FABRIC = "fabric"
_LATER = (StoreUnavailable, StoreDenied, StoreFull)


class Keeper:
    """Empties the notes of outcomes, and notes who is here, while this process leads.

    An outcome goes away in the transaction that counts it, which compares that it is still there,
    that the standing is as it was, and that this process leads. So it counts once, whatever happens
    meanwhile, and whoever else believes to lead.
    """

    def __init__(
        self,
        mirror: Mirror,
        fleet: Fleet,
        reputations: Reputations,
        breakers: Breakers,
        leadership: Leadership,
        clock: Clock,
        levels: Levels,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Connect, before the mirror starts; `sleep` waits for seconds of `clock`."""
        self._mirror = mirror
        self._fleet = fleet
        self._reputations = reputations
        self._breakers = breakers
        self._leadership = leadership
        self._clock = clock
        self._levels = levels
        self._sleep = sleep
        self._running = False
        self._some = asyncio.Event()
        self._attended: set[str] = set()
        self._tidied: datetime | None = None
        self._log = structlog.get_logger(__name__)
        reputations.outcomes.subscribe(lambda _change: self._some.set())
        fleet.sessions.subscribe(lambda change: self._moved(change.id))

    async def run(self) -> None:
        """Count while this process leads, until cancelled: owned by `while_leading`."""
        self._running = True
        # Who came or went while nobody led shows by itself.
        self._attended.update(self._fleet.sessions, self._reputations.standings)
        self._tidied = None
        fading = self._reputations.fading
        fading.lead(self._levels.reputing.half_life)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._telling())
                group.create_task(self._counting())
        finally:
            fading.follow()
            self._running = False
            self._attended.clear()

    async def _counting(self) -> None:
        while True:
            self._some.clear()
            await self._try()
            await self._sleep(_PAUSE_SECONDS)
            await self._some.wait()

    async def _telling(self) -> None:
        """Say again and again by which time reputations fade, while there is any."""
        view, fading = self._reputations.time, self._reputations.fading
        while True:
            if len(self._reputations.standings):
                try:
                    await self._commit([], [view.put(_FABRIC, fading.told())])
                except _LATER as error:
                    self._log.warning("reputation_time_waits", error=str(error))
            await self._sleep(_TELL_SECONDS)

    async def _try(self) -> None:
        try:
            while await self.count():
                pass
            await self._tidy()
        except _LATER as error:
            self._some.set()
            self._log.warning(
                "outcomes_wait", error=str(error), waiting=len(self._reputations.outcomes)
            )

    async def count(self) -> bool:
        """Count the first outcomes, and note who came and went; return whether more are left.

        Raises StoreUnavailable when something has changed meanwhile, and the store's errors.
        """
        by_swarm: dict[str, list[Outcome]] = {}
        page: list[Entry[Outcome]] = []
        for entry in self._reputations.outcomes.page("", BATCH):
            if entry.value.swarm_id not in by_swarm and len(by_swarm) == _SWARMS:
                break
            by_swarm.setdefault(entry.value.swarm_id, []).append(entry.value)
            page.append(entry)
        moved = islice(self._attended.difference(by_swarm), _SWARMS - len(by_swarm))
        swarm_ids = [*by_swarm, *moved]
        # Who comes or goes meanwhile is to be looked at again.
        self._attended.difference_update(swarm_ids)
        try:
            await self._write(page, by_swarm, swarm_ids)
        except StoreError:
            self._attended.update(swarm_ids)
            raise
        for swarm_id in by_swarm:
            await self._judge(swarm_id)
        return bool(len(self._reputations.outcomes) or self._attended)

    async def _write(
        self,
        page: Sequence[Entry[Outcome]],
        by_swarm: Mapping[str, Sequence[Outcome]],
        swarm_ids: Sequence[str],
    ) -> None:
        view, now = self._reputations.standings, self._clock.now()
        # A replica that hears of a later count before an earlier one sees counted outcomes.
        compares = [unchanged(entry.key, entry.mod_revision) for entry in page]
        # First, as whoever sees a standing must not take what is in it for uncounted.
        writes: list[Write] = [self._reputations.outcomes.delete(entry.id) for entry in page]
        for swarm_id in swarm_ids:
            known = view.entry(swarm_id)
            before = Standing() if known is None else known.value
            after = self._changed(before, swarm_id, by_swarm.get(swarm_id, ()), now)
            if after != before:
                compares.append(unchanged(view.key(swarm_id), known.mod_revision if known else 0))
                writes.append(view.put(swarm_id, after))
        if writes:
            await self._commit(compares, writes)
        else:
            # A new leader looks at all swarms, in turns.
            await asyncio.sleep(0)

    def _changed(
        self, before: Standing, swarm_id: str, outcomes: Sequence[Outcome], now: datetime
    ) -> Standing:
        level = self._levels.of(swarm_id)
        session = self._fleet.sessions.get(swarm_id)
        open_time = None if session is None else session.open_time
        after = standing.attended(before, open_time, now, level)
        if not outcomes:
            return after
        faded = self._reputations.fading.now()
        return standing.counted(after, outcomes, now, faded, level, self._levels.reputing)

    async def _judge(self, swarm_id: str) -> None:
        """Open the breaker of a swarm that burns its error budget too fast for the policy."""
        why = self._breach(swarm_id)
        if not why:
            return
        try:
            await self._breakers.trip(swarm_id, BreakerCause.SLO, why, *self._leadership.fence())
        except FabricError as error:
            # It was deregistered meanwhile, or all decisions wait: the next outcome tells again.
            self._log.warning("breaker_not_opened", swarm_id=swarm_id, error=str(error))

    def _breach(self, swarm_id: str) -> str:
        settings = self._levels.of(swarm_id)
        breaker = self._breakers.records.of(swarm_id)
        known = self._reputations.standings.get(swarm_id)
        most = settings.max_burn_rate
        if most is None or known is None or breaker.open or swarm_id not in self._fleet.swarms:
            return ""
        # What was before a reset was forgiven.
        reset = breaker.reset_time
        window = tuple(each for each in known.window if reset is None or each.time >= reset)
        now = self._clock.now()
        if slo.total(window, now, settings).attempts < settings.min_attempts:
            return ""
        for each in slo.objectives(window, now, settings):
            if (
                each.kind is not ObjectiveKind.AVAILABILITY
                and not each.met
                and each.burn_rate >= most
            ):
                return (
                    f"{each.kind} was {each.attained:.1%} of {each.total:g} attempts,"
                    f" {each.target:.1%} is the objective; the error budget burns"
                    f" {each.burn_rate:.3g} times as fast as it may, {most:g} opens it"
                )
        return ""

    async def _tidy(self) -> None:
        """Forget the standings of swarms that are gone, once their evidence has nearly faded."""
        now = self._clock.now()
        if self._tidied is not None and now - self._tidied < _TIDY_EVERY:
            return
        view, settings = self._reputations.standings, self._levels.reputing
        faded = self._reputations.fading.now()
        gone = [
            entry
            for entry in view.entries()
            if entry.id not in self._fleet.swarms
            and entry.value.up_since is None
            and standing.negligible(entry.value, faded, settings)
        ]
        for start in range(0, len(gone), BATCH):
            part = gone[start : start + BATCH]
            compares = [unchanged(entry.key, entry.mod_revision) for entry in part]
            await self._commit(compares, [view.delete(entry.id) for entry in part])
        self._tidied = now

    async def _commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> None:
        if not self._leadership.leading:
            raise StoreUnavailable("this replica does not lead any more")
        result = await self._mirror.commit([*self._leadership.fence(), *compares], writes)
        if not result.succeeded:
            await self._mirror.catch_up()
            raise StoreUnavailable("another replica leads by now, or something has changed")

    def _moved(self, swarm_id: str) -> None:
        if self._running:
            self._attended.add(swarm_id)
            self._some.set()
