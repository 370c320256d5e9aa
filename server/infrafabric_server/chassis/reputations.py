"""What every swarm is worth now, on every replica, from what is stored and not yet counted."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from infrafabric_server.chassis.fading import Fading, FadingTime
from infrafabric_server.chassis.reputation import (
    Evidence,
    added,
    dated,
    gathered,
    ranked,
    reputation,
)
from infrafabric_server.chassis.standing import Outcome, Standing
from infrafabric_server.clock import Clock
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.mirror import Change, Mirror

# Reputations fade in steps, on all replicas at once: those that rank alike assign alike.
_STEP_SECONDS = 60
# Swarms that are looked at in one turn of the event loop: some milliseconds.
_TURN = 256


class Reputations:
    """The reputations by which swarms are ranked, over views that it declares.

    An outcome counts from the revision that noted it, whether it is counted into its swarm's
    standing already or not.
    """

    def __init__(
        self,
        mirror: Mirror,
        fleet: Fleet,
        clock: Clock,
        book: PolicyBook,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Declare the views, before the mirror starts; `sleep` waits for seconds of `clock`."""
        # In this order: when the views are loaded, the time is heard of first, then what is not
        # counted.
        self.time = mirror.view("reputation_time/", FadingTime)
        self.outcomes = mirror.view("outcomes/", Outcome)
        self.standings = mirror.view("reputation/", Standing)
        self.fading = Fading(clock)
        self._fleet = fleet
        self._book = book
        self._sleep = sleep
        self._settings = book.current.policy.reputation
        self._other_settings = asyncio.Event()
        self._uncounted: defaultdict[str, dict[str, Outcome]] = defaultdict(dict)
        self._stale: set[str] = set()
        self._evidence: dict[str, Evidence] = {}
        self._ranked: dict[str, float] = {}
        self._listeners: list[Callable[[str], None]] = []
        self.time.subscribe(lambda change: self._hear(change.new))
        self.outcomes.subscribe(self._outcome_changed)
        self.standings.subscribe(lambda change: self._standing_changed(change.id))
        book.follow(self._policy_changed)

    def of(self, swarm_id: str) -> float:
        """Return the reputation by which a swarm is ranked, above 0 and at most 1.

        That is in whole steps; a swarm without a record has the policy's prior.
        """
        found = self._ranked.get(swarm_id)
        return ranked(self._settings.prior) if found is None else found

    def uncounted(self, swarm_id: str) -> Mapping[str, Outcome]:
        """Return the outcomes of a swarm that are not in its standing yet, by source."""
        return self._uncounted.get(swarm_id, {})

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with each swarm whose reputation changes, in the event loop.

        It must not wait or raise.
        """
        self._listeners.append(listener)

    async def run(self) -> None:
        """Let reputations fade, and follow the policy, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fading())
            group.create_task(self._following())

    async def _fading(self) -> None:
        while True:
            now = self.fading.now().timestamp()
            await self._sleep(_STEP_SECONDS - now % _STEP_SECONDS)
            await self._rank_all(list(self._evidence))

    async def _following(self) -> None:
        while True:
            await self._other_settings.wait()
            self._other_settings.clear()
            self._settings = self._book.current.policy.reputation
            await self._rank_all(list({*self._evidence, *self._fleet.swarms}), told=True)

    async def _rank_all(self, swarm_ids: Sequence[str], *, told: bool = False) -> None:
        for place, swarm_id in enumerate(swarm_ids, 1):
            self._rank(swarm_id, told=told)
            if place % _TURN == 0:
                await asyncio.sleep(0)

    def _hear(self, told: FadingTime | None) -> None:
        if self.fading.hear(told):
            self._recount(self._evidence)

    def _outcome_changed(self, change: Change[Outcome]) -> None:
        outcome = change.new
        if outcome is None:
            if change.old is not None:
                self._counted(change.old.swarm_id, change.id)
            return
        swarm_id = outcome.swarm_id
        if change.id in self._uncounted[swarm_id]:
            return
        self._uncounted[swarm_id][change.id] = outcome
        known = self._evidence.get(swarm_id)
        now = self.fading.now()
        self._evidence[swarm_id] = added(known, outcome.verdict, now, self._settings)
        self._rank(swarm_id)

    def _counted(self, swarm_id: str, source: str) -> None:
        """Note that an outcome is in its swarm's standing, which mostly changes at this moment.

        Hundreds go at once. Only a replica that hears of a later standing before an earlier one
        counts some twice, until its watch brings both; so they are added up anew after all.
        """
        self._uncounted[swarm_id].pop(source, None)
        if not self._uncounted[swarm_id]:
            del self._uncounted[swarm_id]
        self._recount((swarm_id,))

    def _standing_changed(self, swarm_id: str) -> None:
        if swarm_id not in self._stale:
            self._counted_anew(swarm_id)

    def _recount(self, swarm_ids: Iterable[str]) -> None:
        if not self._stale:
            asyncio.get_running_loop().call_soon(self._refresh)
        self._stale.update(swarm_ids)

    def _refresh(self) -> None:
        for _ in range(min(_TURN, len(self._stale))):
            self._counted_anew(self._stale.pop())
        if self._stale:
            asyncio.get_running_loop().call_soon(self._refresh)

    def _counted_anew(self, swarm_id: str) -> None:
        standing = self.standings.get(swarm_id)
        evidence = None if standing is None else standing.evidence
        now = self.fading.now()
        evidence = None if evidence is None else dated(evidence, now)
        verdicts = [each.verdict for each in self._uncounted.get(swarm_id, {}).values()]
        evidence = gathered(evidence, verdicts, now, self._settings)
        if evidence is None:
            self._evidence.pop(swarm_id, None)
        else:
            self._evidence[swarm_id] = evidence
        self._rank(swarm_id)

    def _rank(self, swarm_id: str, *, told: bool = False) -> None:
        before = self.of(swarm_id)
        evidence = self._evidence.get(swarm_id)
        if evidence is None:
            self._ranked.pop(swarm_id, None)
        else:
            self._ranked[swarm_id] = ranked(reputation(evidence, self._now(), self._settings))
        if told or self.of(swarm_id) != before:
            for listener in self._listeners:
                listener(swarm_id)

    def _now(self) -> datetime:
        """Return when the present step began."""
        now = self.fading.now()
        return now - timedelta(seconds=now.timestamp() % _STEP_SECONDS)

    def _policy_changed(self) -> None:
        if self._book.current.policy.reputation != self._settings:
            self._other_settings.set()
