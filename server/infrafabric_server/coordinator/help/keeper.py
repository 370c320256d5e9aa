"""Keeps live requests for help on offer; one replica does it, the one that leads."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime

from infrafabric_server.coordinator.help.candidates import Candidates, waiting_since
from infrafabric_server.coordinator.help.facts import told
from infrafabric_server.coordinator.help.involved import Involved
from infrafabric_server.coordinator.help.liveness import Liveness
from infrafabric_server.coordinator.help.order import Order, Turn
from infrafabric_server.coordinator.models import BlockerAlert, Task
from infrafabric_server.coordinator.records import MAX_TRIES, Records
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.fleet.models import AgentStatus
from infrafabric_server.fleet.rounds import Rounds
from infrafabric_server.governor.breaker.models import Breaker
from infrafabric_server.governor.breaker.records import BreakerRecords
from infrafabric_server.governor.escalation.agenda import Agenda
from infrafabric_server.governor.help import rules
from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.mirror import Change, Entry
from infrafabric_server.store.protocol import Compare, StoreError, absent, unchanged

MAX_LOOKED_AT = 1_000
"""Live requests that are on offer at a time: the most urgent, then the oldest ones."""

# In one turn of the event loop so many requests are looked at, or swarms tried for requests: some
# milliseconds.
_TURN = 64
_TRIED = 1_024
_FIRST = datetime(1, 1, 1, tzinfo=UTC)


class Keeper:
    """Offers each live request to as many idle swarms as have a place, and ends what is over.

    Nothing is kept beside the requests themselves: a new leader looks at all of them. After that,
    a request is looked at when it, its blocker or its claim changes, or an offer of it runs out;
    a swarm that becomes idle is tried for the requests that want more than they have found.
    """

    def __init__(
        self,
        records: Records,
        involved: Involved,
        liveness: Liveness,
        candidates: Candidates,
        breakers: BreakerRecords,
        policies: PolicyBook,
        leadership: Leadership,
        *,
        most: int = MAX_LOOKED_AT,
        most_ended: int = rules.MAX_ENDED,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take what it stands on.

        At most so many live requests are on offer at a time, and so many that have ended are kept;
        `sleep` waits for seconds between two rounds.
        """
        self._records = records
        self._involved = involved
        self._liveness = liveness
        self._candidates = candidates
        self._breakers = breakers
        self._policies = policies
        self._leadership = leadership
        self._agenda = Agenda()
        self._rounds = Rounds(self._round, failed="help_not_kept", sleep=sleep)
        self._order = Order(most_on_offer=most, most_ended=most_ended)
        # Requests that are on offer and have places left.
        self._wanting: set[str] = set()
        # Requests to be looked at, and swarms that may be idle since then.
        self._waiting: dict[str, None] = {}
        self._fresh: dict[str, None] = {}
        self._leading = False
        self._follow()

    def _follow(self) -> None:
        fleet = self._records.fleet
        self._records.help.subscribe(self._request_changed)
        self._records.blockers.subscribe(self._blocker_changed)
        self._records.tasks.subscribe(self._task_changed)
        fleet.statuses.subscribe(self._status_changed)
        fleet.sessions.subscribe(lambda change: self._swarm_changed(change.id))
        fleet.swarms.subscribe(lambda change: self._swarm_changed(change.id))
        self._breakers.breakers.subscribe(self._breaker_changed)
        self._breakers.holds.subscribe(lambda _change: self._look_at_all())
        self._breakers.pools.subscribe(lambda change: self._pool_changed(change.id))
        self._policies.follow(self._look_at_all)

    async def run(self) -> None:
        """Do what the leader does, until cancelled: owned by `while_leading`."""
        self._leading = True
        try:
            for entry in self._records.help.entries():
                self._order.change(None, entry.value)
            self._look_at_all()
            await self._rounds.run()
        finally:
            self._leading = False
            self._agenda = Agenda()
            for each in (self._order, self._wanting, self._waiting, self._fresh):
                each.clear()

    def wake(self) -> None:
        """Look for what is due now; `run` does so by itself when the time has come."""
        self._rounds.wake()

    @property
    def resting(self) -> bool:
        """Whether there is nothing to be done before something happens, or is due."""
        return not self._leading or self._rounds.resting

    def _look(self, help_id: str) -> None:
        if self._leading:
            self._waiting[help_id] = None
            self._rounds.wake()

    def _look_at_all(self) -> None:
        for help_id in self._records.help if self._leading else ():
            self._look(help_id)

    def _request_changed(self, change: Change[HelpRequest]) -> None:
        if not self._leading:
            return
        old, new = change.old, change.new
        for help_id in self._order.change(old, new):
            self._look(help_id)
        # Who is not asked any more, or helps no more, may be for others.
        self._fresh.update(dict.fromkeys({*_parts(old)} - {*_parts(new)}))
        if old is None or new is None or _but_money(old) != _but_money(new):
            self._look(change.id)

    def _blocker_changed(self, change: Change[BlockerAlert]) -> None:
        for alert in (change.old, change.new):
            if alert is not None and alert.help_id:
                self._look(alert.help_id)

    def _task_changed(self, change: Change[Task]) -> None:
        for help_id in self._involved.of_task(change.id) if self._leading else ():
            request, task = self._records.help.get(help_id), change.new
            held = None if task is None else task.claim
            if request is None or held is None or held.attempt != request.attempt:
                self._look(help_id)

    def _status_changed(self, change: Change[AgentStatus]) -> None:
        if self._order.live and waiting_since(change.old) != waiting_since(change.new):
            self._swarm_changed(change.id)

    def _swarm_changed(self, swarm_id: str) -> None:
        if not self._order.live:
            return
        for help_id in (*self._involved.asked(swarm_id), *self._involved.helping(swarm_id)):
            self._look(help_id)
        self._fresh[swarm_id] = None
        if self._wanting or not self._rounds.resting:
            self._rounds.wake()

    def _breaker_changed(self, change: Change[Breaker]) -> None:
        if (change.old is not None and change.old.open) or (change.new and change.new.open):
            self._swarm_changed(change.id)

    def _pool_changed(self, pool_id: str) -> None:
        for swarm_id in self._breakers.members(pool_id) if self._order.live else ():
            self._swarm_changed(swarm_id)

    async def _round(self) -> float | None:
        """Look at what changed or is due; return how many seconds it is until the next time."""
        while (due := self._agenda.take(self._records.clock.now())) is not None:
            self._waiting[due] = None
        fresh, self._fresh = list(self._fresh), {}
        idle = [each for each in fresh if self._candidates.available(each)]
        looked = {*self._waiting, *(self._wanting if idle else ())}
        effort = 0
        for help_id in sorted(looked, key=self._turn):
            if effort >= _TRIED:
                effort = 0
                await asyncio.sleep(0)
            anew = help_id in self._waiting
            effort += _TRIED // _TURN if anew else len(idle)
            among = None if anew else self._fit(help_id, idle)
            if among is not None and not among:
                continue
            # What changes from now on is looked at again, and what fails now.
            self._waiting.pop(help_id, None)
            try:
                await self._bring_up_to_date(help_id, among)
            except (FabricError, StoreError):
                self._waiting[help_id] = None
                self._fresh.update(dict.fromkeys(idle))
                raise
        first = self._agenda.first()
        if first is None:
            return None
        return max(0.0, (first[0] - self._records.clock.now()).total_seconds())

    def _fit(self, help_id: str, idle: Sequence[str]) -> list[str]:
        request, covers = self._records.help.get(help_id), self._candidates.covers
        return [] if request is None else [each for each in idle if covers(request, each)]

    def _turn(self, help_id: str) -> Turn:
        request = self._records.help.get(help_id)
        return (-1, _FIRST, help_id) if request is None else request.turn

    async def _bring_up_to_date(self, help_id: str, among: Sequence[str] | None) -> None:
        for _ in range(MAX_TRIES):
            entry = self._records.help.entry(help_id)
            if entry is None:
                self._rest(help_id, None, None)
                return
            request, now = entry.value, self._records.clock.now()
            after = await self._next(request, now, among)
            if after == request:
                self._rest(help_id, request, rules.next_unqualified(request, now))
                return
            if await self._write(entry, after):
                # The change itself has it looked at again, for what is to come.
                return
        raise FabricError(Reason.CONTENTION, "it changes too fast, or another replica leads")

    async def _next(
        self, request: HelpRequest, now: datetime, among: Sequence[str] | None
    ) -> HelpRequest | None:
        """Return the request as it is to be, None to forget it."""
        if request.end_time is not None:
            over = now >= request.end_time + rules.KEPT or self._order.makes_room(request)
            return None if over else request
        cause = self._liveness.over(request)
        if cause:
            return rules.ended(request, cause, now)
        settings = self._policies.current.policy.help
        after = rules.left(request, self._gone(request, now), now)
        if after != request:
            # What was seen of who is gone is compared as it is: before others have their turn.
            return after
        after = rules.passed(after, rules.lapsed(after, now, settings.offer_for))
        unfit = [each for each in after.asked_ids if not self._candidates.suits(after, each)]
        after = rules.withdrawn(after, unfit)
        # While the fabric is held nobody may work, which needs no word of its own.
        if not after.places or not self._order.on_offer(request) or self._breakers.of("").open:
            return after
        # Before people are told that nobody fits, everybody is looked at.
        everybody = among is None or rules.unqualified(after, now) != after
        found = await self._candidates.of(after, None if everybody else among)
        after = rules.sought(after, found, settings.comparison.threshold, now)
        return rules.unqualified(after, now) if everybody else after

    def _gone(self, request: HelpRequest, now: datetime) -> Collection[str]:
        """Return the helpers that help no more."""
        gone = []
        for helper in request.helpers:
            breaker = self._breakers.in_force(helper.swarm_id)
            if (
                helper.swarm_id not in self._records.fleet.swarms
                or (helper.in_session and not self._candidates.attends(helper.swarm_id))
                or (breaker is not None and _overdue(breaker, now))
            ):
                gone.append(helper.swarm_id)
        return gone

    async def _write(self, entry: Entry[HelpRequest], after: HelpRequest | None) -> bool:
        before, view = entry.value, self._records.help
        compares = [unchanged(entry.key, entry.mod_revision), *self._leadership.fence()]
        if after is None:
            return (await self._records.commit(compares, [view.delete(entry.id)], [])).succeeded
        if after.ended:
            compares += self._liveness.same(before)
        for helper in before.helpers:
            if helper.swarm_id not in after.helper_ids:
                compares += self._still_gone(helper.swarm_id)
        facts = told(before, after, self._policies.current.hash)
        return (await self._records.commit(compares, [view.put(entry.id, after)], facts)).succeeded

    def _still_gone(self, swarm_id: str) -> list[Compare]:
        """Return what refuses to let a helper go if what was seen of it has changed."""
        fleet = self._records.fleet
        if swarm_id not in fleet.swarms:
            return [absent(fleet.swarms.key(swarm_id))]
        session = fleet.sessions.entry(swarm_id)
        return [
            unchanged(fleet.sessions.key(swarm_id), 0 if session is None else session.mod_revision),
            self._breakers.same(swarm_id),
            self._breakers.same(""),
        ]

    def _rest(self, help_id: str, request: HelpRequest | None, settled: datetime | None) -> None:
        """Note when a request that is as it should be is to be looked at again.

        A new one is when it has `settled`, by the time at which it was looked at: by now that may
        have passed.
        """
        wants = request is not None and not request.ended and request.places > 0
        if wants and request is not None and self._order.on_offer(request):
            self._wanting.add(help_id)
        else:
            self._wanting.discard(help_id)
        self._agenda.set(help_id, None if request is None else self._next_time(request, settled))

    def _next_time(self, request: HelpRequest, settled: datetime | None) -> datetime | None:
        if request.end_time is not None:
            return request.end_time + rules.KEPT
        breakers = (self._breakers.in_force(each) for each in request.helper_ids)
        moments = [
            rules.next_lapse(request, self._policies.current.policy.help.offer_for),
            settled,
            *(each.fence_time for each in breakers if each is not None),
        ]
        return min((each for each in moments if each is not None), default=None)


def _overdue(breaker: Breaker, now: datetime) -> bool:
    return breaker.fence_time is None or breaker.fence_time <= now


def _parts(request: HelpRequest | None) -> tuple[str, ...]:
    return () if request is None else (*request.helping_ids, *request.asked_ids)


def _but_money(request: HelpRequest) -> HelpRequest:
    return request.model_copy(update={"spent_micros": 0, "drawn_micros": 0})
