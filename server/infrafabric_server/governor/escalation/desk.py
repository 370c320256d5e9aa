"""The desk: keeps one escalation for each incident, and takes acknowledgements."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.fleet.rounds import RETRY_SECONDS, Rounds
from infrafabric_server.governor.escalation import rules
from infrafabric_server.governor.escalation.agenda import Agenda
from infrafabric_server.governor.escalation.models import Cause, Escalation, Operation, State
from infrafabric_server.governor.escalation.records import EscalationRecords
from infrafabric_server.governor.escalation.sources import Source
from infrafabric_server.governor.listing import Part, filtered
from infrafabric_server.governor.persons import require_person
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.protocol import StoreError

# When an escalation for which there was no room is tried again.
_FULL = timedelta(minutes=1)
_SOON = timedelta(seconds=1)
# A step is given up after losing this many races to other changes of its escalation.
_MAX_TRIES = 32
# Looked at in one turn of the loop.
_TOGETHER = 64

_log = structlog.get_logger(__name__)


class Desk:
    """Opens, raises and closes escalations as their causes come, last and go.

    Only the leader does; acknowledgements are written by the replica that takes them. What is
    left to do is stored nowhere: a new leader compares all causes with all escalations, which
    shows whatever a crash has left undone.
    """

    def __init__(
        self,
        records: EscalationRecords,
        sources: Sequence[Source],
        policies: PolicyBook,
        leadership: Leadership,
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Follow the sources; the views have not started."""
        self.records = records
        self._sources = sorted(sources, key=lambda source: len(source.prefix), reverse=True)
        self._policies = policies
        self._leadership = leadership
        self._agenda = Agenda()
        # In the order in which they came; the values mean nothing.
        self._waiting: dict[str, None] = {}
        self._rounds = Rounds(
            self._round, failed="escalation_not_written", retry_seconds=retry_seconds
        )
        self._leading = False
        self._effective = policies.current
        for source in sources:
            source.follow(self._look)
        records.escalations.subscribe(lambda change: self._look(change.id))
        policies.follow(self.wake)

    async def run(self) -> None:
        """Do what the leader does, until cancelled: owned by `while_leading`."""
        self._leading = True
        try:
            self._look_at_all()
            await self._rounds.run()
        finally:
            self._leading = False
            self._waiting.clear()
            self._agenda = Agenda()

    def wake(self) -> None:
        """Look for what is due now; `run` does so by itself when the time has come."""
        self._rounds.wake()

    async def acknowledge(self, escalation_id: str, by: str, note: str) -> Escalation:
        """Note that somebody takes care; a closed escalation is returned as it is.

        Safe to repeat; another name or note replaces the one before.
        Raises ESCALATION_NOT_FOUND, CONTENTION, InvalidField for what is no name.
        """
        by = require_person("acknowledged_by", by)
        for _ in range(_MAX_TRIES):
            entry = self.records.escalations.entry(escalation_id)
            if entry is None:
                raise FabricError(
                    Reason.ESCALATION_NOT_FOUND,
                    f"no escalation has the id {escalation_id}; closed ones are kept for a day",
                )
            step = rules.acknowledge(entry.value, by, note, self.records.clock.now())
            if step is None or step.escalation is None:
                return entry.value
            result = await self.records.commit(
                escalation_id,
                entry,
                step,
                details={"acknowledged_by": by, "acknowledgement": note},
            )
            if result.succeeded:
                return step.escalation
        raise FabricError(
            Reason.CONTENTION, f"escalation {escalation_id} changes too fast; try again"
        )

    async def page(self, after: str, limit: int, state: State | None) -> Part[Escalation]:
        """Return at most `limit` escalations by id, from the first id after `after` on."""
        return await filtered(
            self.records.escalations, after, limit, lambda each: state in (None, each.state)
        )

    def _look(self, escalation_id: str) -> None:
        if self._leading:
            self._waiting[escalation_id] = None
            self._rounds.wake()

    def _look_at_all(self) -> None:
        for id_ in self.records.escalations:
            self._look(id_)
        for source in self._sources:
            for id_ in source.ids():
                self._look(id_)

    async def _round(self) -> float | None:
        """Look at what changed or is due; return how many seconds it is until the next time."""
        if self._effective is not self._policies.current:
            self._effective = self._policies.current
            self._look_at_all()
        while (due := self._agenda.take(self.records.clock.now())) is not None:
            self._waiting[due] = None
        done = 0
        while self._waiting:
            id_ = next(iter(self._waiting))
            # Before the look, so that a change during it has this one looked at again.
            del self._waiting[id_]
            try:
                await self._bring_up_to_date(id_)
            except (FabricError, StoreError):
                self._waiting[id_] = None
                raise
            done += 1
            if done % _TOGETHER == 0:
                await asyncio.sleep(0)
        first = self._agenda.first()
        if first is None:
            return None
        return max(0.0, (first[0] - self.records.clock.now()).total_seconds())

    async def _bring_up_to_date(self, escalation_id: str) -> None:
        looked = False
        for _ in range(_MAX_TRIES):
            entry = self.records.escalations.entry(escalation_id)
            cause = self._cause(escalation_id)
            now = self.records.clock.now()
            known = None if entry is None else entry.value
            step = rules.decide(known, cause, now, self._raise_after)
            if step is None:
                self._agenda.set(escalation_id, self._next_time(known, cause, now))
                return
            if not looked and step.operation in (Operation.OPENED, Operation.CLOSED):
                # The views may show an escalation before its cause: they catch up first.
                looked = True
                if await self.records.mirror.catch_up():
                    continue
            fence = self._leadership.fence()
            if (
                entry is None
                and step.escalation is not None
                and not await self.records.make_room(step.escalation.kind, fence)
            ):
                _log.error("escalations_full", escalation_id=escalation_id)
                self._agenda.set(escalation_id, now + _FULL)
                return
            details = {"policy_hash": self._effective.hash}
            result = await self.records.commit(
                escalation_id, entry, step, compares=fence, details=details
            )
            if result.succeeded:
                # The change itself brings it here again, which schedules what comes next.
                return
        raise FabricError(Reason.CONTENTION, "it changes too fast, or another replica leads")

    @property
    def _raise_after(self) -> timedelta:
        return self._effective.policy.escalation.raise_after

    def _cause(self, escalation_id: str) -> Cause | None:
        for source in self._sources:
            if escalation_id.startswith(source.prefix):
                return source.cause(escalation_id)
        return None

    def _next_time(
        self, known: Escalation | None, cause: Cause | None, now: datetime
    ) -> datetime | None:
        again = None if known is None else rules.next_time(known, self._raise_after)
        if cause is None or cause.until is None:
            return again
        # What should be over and is not is looked at again soon, not at once.
        over = max(cause.until, now + _SOON)
        return over if again is None else min(over, again)
